/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Submission before a batch is complete (aio/ring.c). */
#include "util.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/ring-internal.h"
#include "ring-util.h"

/* A read of an eventfd: in the kernel until somebody writes to it. */
typedef struct EventRead {
    CqeHandler cqe;
    int fd;
    uint64_t value;
    unsigned done;
} EventRead;

static void prepare_event_read(struct io_uring_sqe *sqe, void *opaque)
{
    EventRead *event = opaque;
    io_uring_prep_read(sqe, event->fd, &event->value, sizeof(event->value), 0);
}

static void event_read_done(CqeHandler *handler)
{
    aio_container_of(handler, EventRead, cqe)->done++;
}

static void event_read_add(AioRing *ring, EventRead *event)
{
    event->fd = eventfd(0, EFD_CLOEXEC);
    g_assert_cmpint(event->fd, >=, 0);
    event->cqe.callback = event_read_done;
    aio_ring_add(ring, prepare_event_read, event, &event->cqe);
}

static void event_read_finish(EventRead *event)
{
    const uint64_t one = 1;

    g_assert_cmpint(write(event->fd, &one, sizeof(one)), ==, sizeof(one));
}

static void instant_done(CqeHandler *handler)
{
    g_assert_cmpint(handler->res, ==, 0);
}

static void instant_add(AioRing *ring, CqeHandler *handler)
{
    *handler = (CqeHandler){.callback = instant_done, .instant = true};
    aio_ring_add(ring, prepare_nop, NULL, handler);
}

static AioRing *ring_new(void)
{
    GError *error = NULL;
    AioRing *ring = aio_ring_new(&(AioRingParams){.entries = 16}, &error);

    g_assert_no_error(error);
    return ring;
}

/* The first is submitted at once; then as many together as are under way. */
static void test_keep_busy(void)
{
    static const unsigned submitted[] = {1, 2, 2, 4, 4, 4, 4, 8, 8};
    AioRing *ring = ring_new();
    EventRead events[G_N_ELEMENTS(submitted)] = {0};
    CqeHandler instant[2];

    aio_ring_keep_busy(ring);
    instant_add(ring, &instant[0]);
    aio_ring_keep_busy(ring);
    g_assert_cmpuint(ring->own_counters.enters, ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(submitted); i++) {
        event_read_add(ring, &events[i]);
        aio_ring_keep_busy(ring);
        g_assert_cmpuint(ring->working, ==, submitted[i]);
        g_assert_cmpuint(aio_ring_queued(ring), ==, i + 1 - submitted[i]);
    }
    instant_add(ring, &instant[1]);
    aio_ring_keep_busy(ring);
    g_assert_cmpuint(ring->working, ==, 8);
    g_assert_cmpuint(ring->own_counters.submits, ==, 4);

    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        event_read_finish(&events[i]);
        while (events[i].done == 0) {
            aio_ring_wait(ring, -1);
            aio_ring_dispatch(ring);
        }
        close(events[i].fd);
    }
    g_assert_cmpuint(ring->working, ==, 0);
    aio_ring_free(ring);
    g_assert_false(instant[0].busy || instant[1].busy);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ring-busy/keep-busy", test_keep_busy);
    return g_test_run();
}
