/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second ring of an AioContext: watched through a descriptor, or polled by a bottom half.
 *
 * How it works: the ring's own descriptor is no use with DEFER_TASKRUN, where deferred work raises
 * the task-run flag but does not wake who polls the ring (measured on 6.18). A registered eventfd
 * is signalled for both. A ring for polled I/O (IOPOLL) signals nothing: a bottom half looks at it
 * in each turn while something is in flight.
 */
#include "aio/ring-internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/context-internal.h"

int aio_ring_watch(AioRing *ring)
{
    g_assert(ring->event_fd < 0);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    int ret = io_uring_register_eventfd(&ring->uring, fd);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    ring->event_fd = fd;
    return fd;
}

void aio_ring_clear_watch(AioRing *ring)
{
    uint64_t count;
    ssize_t ret = read(ring->event_fd, &count, sizeof(count));
    (void)ret; /* EAGAIN: not signalled */
}

void aio_ring_unwatch(AioRing *ring)
{
    if (ring->event_fd >= 0) {
        (void)io_uring_unregister_eventfd(&ring->uring);
        close(ring->event_fd);
        ring->event_fd = -1;
    }
}

static void ring_progress(void *opaque)
{
    AioRing *ring = opaque;
    aio_ring_reap(ring, 0);
    aio_ring_dispatch(ring);
    if (aio_ring_queued(ring) > 0) {
        (void)aio_ring_submit(ring);
    }
}

static void ring_event(void *opaque)
{
    aio_ring_clear_watch(opaque);
    ring_progress(opaque);
}

static bool ring_poll(void *opaque)
{
    return aio_ring_has_completions(opaque);
}

/* A polled ring completes nothing by itself: look as long as something is in flight. */
static void ring_iopoll(void *opaque)
{
    AioRing *ring = opaque;
    (void)aio_ring_submit(ring);
    aio_counter_add(&ring->counters->enters, 1);
    (void)io_uring_get_events(&ring->uring);
    aio_ring_walk(ring, ring->uring.cq.ring_entries);
    aio_ring_dispatch(ring);
    if (ring->iopoll_bh && ring->outstanding + ring->backlog.count > 0) {
        aio_bh_schedule(ring->iopoll_bh);
    }
}

int aio_ring_attach(AioRing *ring, AioContext *ctx)
{
    static const AioFdOps ops = {
        .read = ring_event, .poll = ring_poll, .poll_ready = ring_progress};

    aio_ring_assert_owner(ring);
    g_assert(!ring->ctx && aio_context_is_home(ctx));
    if (ring->setup_flags & IORING_SETUP_IOPOLL) {
        ring->iopoll_bh = aio_bh_new(ctx, ring_iopoll, ring);
    } else {
        int fd = aio_ring_watch(ring);
        if (fd < 0) {
            return fd;
        }
        aio_set_fd_handler(ctx, fd, &ops, ring);
    }
    ring->ctx = ctx;
    ring->counters = aio_context_counters(ctx);
    return 0;
}

void aio_ring_detach(AioRing *ring)
{
    aio_ring_assert_owner(ring);
    g_assert(ring->ctx && ring->outstanding == 0 && ring->backlog.count == 0);
    if (ring->iopoll_bh) {
        aio_bh_delete(ring->iopoll_bh);
        ring->iopoll_bh = NULL;
    } else {
        aio_set_fd_handler(ring->ctx, ring->event_fd, NULL, NULL);
        aio_ring_unwatch(ring);
    }
    ring->ctx = NULL;
    ring->counters = &ring->own_counters;
}
