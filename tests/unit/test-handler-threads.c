/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor handlers that other threads add, change, remove and make ready
 * while the loop runs or sleeps. Run it under ThreadSanitizer.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/handler.h"
#include "aio/iothread.h"
#include "loop-util.h"
#include "util.h"

typedef struct Stranger {
    AioContext *ctx;
    int fd;
    _Atomic unsigned calls;
    unsigned rounds;
    _Atomic unsigned round;
} Stranger;

static void stranger_read(void *opaque)
{
    Stranger *stranger = opaque;
    g_assert_true(eventfd_take(stranger->fd));
    stranger->calls++;
}

static void wait_asleep(AioContext *ctx)
{
    while (atomic_load(&ctx->sleepers) == 0) {
        sched_yield();
    }
}

/* Adds a handler whose event is already up, while the loop sleeps. */
static void *stranger_add(void *opaque)
{
    static const AioFdOps ops = {.read = stranger_read};
    Stranger *stranger = opaque;
    for (unsigned i = 1; i <= stranger->rounds; i++) {
        eventfd_raise(stranger->fd);
        wait_asleep(stranger->ctx);
        aio_set_fd_handler(stranger->ctx, stranger->fd, &ops, stranger);
        while (stranger->calls < i) {
            sched_yield();
        }
        aio_set_fd_handler(stranger->ctx, stranger->fd, NULL, NULL);
        stranger->round = i;
        aio_context_notify(stranger->ctx);
    }
    return NULL;
}

static void test_add_while_asleep(void)
{
    AioContext *ctx = test_context_new();
    Stranger stranger = {.ctx = ctx, .fd = eventfd_new(), .rounds = 300};
    pthread_t thread;

    g_assert_cmpint(pthread_create(&thread, NULL, stranger_add, &stranger), ==, 0);
    test_poll_until(ctx, stranger.round == stranger.rounds);
    pthread_join(thread, NULL);
    g_assert_cmpuint(stranger.calls, ==, stranger.rounds);
    settle_deleted(ctx);
    close(stranger.fd);
    aio_context_free(ctx);
}

/* A handler in memory of its own, which the home thread frees after the removal. */
typedef struct Tenant {
    AioContext *ctx;
    int fd;
    _Atomic unsigned calls;
    _Atomic bool gone; /* set by the bottom half: nothing may come after it */
} Tenant;

static void tenant_read(void *opaque)
{
    Tenant *tenant = opaque;
    g_assert_false(tenant->gone);
    eventfd_take(tenant->fd);
    tenant->calls++;
}

static void tenant_free(void *opaque)
{
    Tenant *tenant = opaque;
    tenant->gone = true;
    close(tenant->fd);
    g_free(tenant);
}

typedef struct Landlord {
    AioContext *ctx;
    unsigned rounds;
    uint32_t random;
    uint64_t called;
} Landlord;

static uint32_t landlord_random(Landlord *landlord)
{
    landlord->random = landlord->random * 1664525u + 1013904223u;
    return landlord->random >> 16;
}

static void *landlord_main(void *opaque)
{
    static const AioFdOps ops = {.read = tenant_read};
    Landlord *landlord = opaque;
    for (unsigned i = 0; i < landlord->rounds; i++) {
        Tenant *tenant = g_new0(Tenant, 1);
        uint32_t random = landlord_random(landlord);
        tenant->ctx = landlord->ctx;
        tenant->fd = eventfd_new();
        if (random & 1) {
            eventfd_raise(tenant->fd);
        }
        aio_set_fd_handler(landlord->ctx, tenant->fd, &ops, tenant);
        if (random & 2) {
            eventfd_raise(tenant->fd);
        }
        if (random & 4) {
            sched_yield();
        }
        if (random & 8) {
            aio_set_fd_handler(landlord->ctx, tenant->fd, &ops, tenant);
        }
        if ((random & 3) && (random & 0x70) == 0) {
            while (tenant->calls == 0) {
                sched_yield(); /* it must come */
            }
            landlord->called++;
        }
        aio_set_fd_handler(landlord->ctx, tenant->fd, NULL, NULL);
        aio_bh_call_once(landlord->ctx, tenant_free, tenant);
    }
    return NULL;
}

/* Threads rent and leave handlers of a loop that is running. */
static void test_churn(void)
{
    enum { THREADS = 2 };
    AioContextParams params;
    GError *error = NULL;
    Landlord landlords[THREADS];
    pthread_t threads[THREADS];

    test_context_params(&params);
    AioIoThread *iothread = aio_iothread_new(&params, -1, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < THREADS; i++) {
        landlords[i] = (Landlord){.ctx = aio_iothread_context(iothread),
                                  .rounds = 3000,
                                  .random = (uint32_t)g_test_rand_int()};
        g_assert_cmpint(pthread_create(&threads[i], NULL, landlord_main, &landlords[i]), ==, 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        g_assert_cmpuint(landlords[i].called, >, 0);
    }
    aio_iothread_free(iothread);
}

/* The same descriptors, changed by callbacks and by other threads at once. */
enum { SHARED = 6 };

typedef struct Chaos {
    AioContext *ctx;
    int fds[SHARED];
    _Atomic unsigned calls[SHARED];
    unsigned rounds;
    _Atomic unsigned running;
    _Atomic uint32_t random;
} Chaos;

typedef struct ChaosSlot {
    Chaos *chaos;
    unsigned index;
} ChaosSlot;

static ChaosSlot chaos_slots[SHARED];

static void chaos_step(Chaos *chaos);

static void chaos_read(void *opaque)
{
    ChaosSlot *slot = opaque;
    eventfd_take(slot->chaos->fds[slot->index]);
    slot->chaos->calls[slot->index]++;
    if (slot->chaos->running > 0) {
        chaos_step(slot->chaos);
    }
}

static void chaos_write(void *opaque)
{
    ChaosSlot *slot = opaque;
    /* An eventfd is always writable: do not stay. */
    aio_set_fd_handler(slot->chaos->ctx, slot->chaos->fds[slot->index], NULL, NULL);
}

static void chaos_step(Chaos *chaos)
{
    static const AioFdOps reads = {.read = chaos_read};
    static const AioFdOps writes = {.write = chaos_write};
    static const AioFdOps both = {.read = chaos_read, .write = chaos_write};
    uint32_t random = atomic_fetch_add(&chaos->random, 2654435761u) >> 7;
    unsigned index = random % SHARED;
    int fd = chaos->fds[index];

    switch (random / SHARED % 6) {
    case 0:
    case 1:
        aio_set_fd_handler(chaos->ctx, fd, &reads, &chaos_slots[index]);
        break;
    case 2:
        aio_set_fd_handler(chaos->ctx, fd, &writes, &chaos_slots[index]);
        break;
    case 3:
        aio_set_fd_handler(chaos->ctx, fd, &both, &chaos_slots[index]);
        break;
    case 4:
        aio_set_fd_handler(chaos->ctx, fd, NULL, NULL);
        break;
    default:
        eventfd_raise(fd);
        break;
    }
}

static void *chaos_thread(void *opaque)
{
    Chaos *chaos = opaque;
    for (unsigned i = 0; i < chaos->rounds; i++) {
        chaos_step(chaos);
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    chaos->running--;
    aio_context_notify(chaos->ctx);
    return NULL;
}

static void test_chaos(void)
{
    enum { THREADS = 2 };
    static const AioFdOps reads = {.read = chaos_read};
    AioContext *ctx = test_context_new();
    Chaos chaos = {.ctx = ctx, .rounds = 10000, .random = (uint32_t)g_test_rand_int()};
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < SHARED; i++) {
        chaos.fds[i] = eventfd_new();
        chaos_slots[i] = (ChaosSlot){&chaos, i};
    }
    chaos.running = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        g_assert_cmpint(pthread_create(&threads[i], NULL, chaos_thread, &chaos), ==, 0);
    }
    test_poll_until(ctx, chaos.running == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    /* Whatever they left, each descriptor can be watched again. */
    for (unsigned i = 0; i < SHARED; i++) {
        aio_set_fd_handler(ctx, chaos.fds[i], &reads, &chaos_slots[i]);
        unsigned calls = chaos.calls[i];
        eventfd_raise(chaos.fds[i]);
        test_poll_until(ctx, chaos.calls[i] > calls);
        aio_set_fd_handler(ctx, chaos.fds[i], NULL, NULL);
        close(chaos.fds[i]);
    }
    settle_deleted(ctx);
    aio_context_free(ctx);
}

/* --- hang-up --- */

typedef struct Peer {
    int fd;
    bool over;
} Peer;

static void peer_read(void *opaque)
{
    Peer *peer = opaque;
    char byte;
    peer->over = read(peer->fd, &byte, 1) == 0;
}

static void *peer_close(void *opaque)
{
    int *fd = opaque;
    g_usleep(2000);
    close(*fd);
    return NULL;
}

static void test_hang_up(void)
{
    static const AioFdOps ops = {.read = peer_read};
    AioContext *ctx = test_context_new();
    int fds[2];
    pthread_t thread;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    Peer peer = {.fd = fds[0]};
    aio_set_fd_handler(ctx, fds[0], &ops, &peer);
    g_assert_cmpint(pthread_create(&thread, NULL, peer_close, &fds[1]), ==, 0);
    test_poll_until(ctx, peer.over);
    pthread_join(thread, NULL);
    aio_set_fd_handler(ctx, fds[0], NULL, NULL);
    close(fds[0]);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/handler/B3-hang-up", test_hang_up);
    g_test_add_func("/handler/B9-add-while-asleep", test_add_while_asleep);
    g_test_add_func("/handler/C12-churn", test_churn);
    g_test_add_func("/handler/C12-chaos", test_chaos);
    return g_test_run();
}
