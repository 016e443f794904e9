/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor handlers that are added, changed and removed in the worst moment:
 * while their event is on its way, from their own and from others' callbacks,
 * and by other threads. Run it under AddressSanitizer and ThreadSanitizer.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/handler.h"
#include "aio/iothread.h"
#include "util.h"

static int eventfd_new(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void eventfd_raise(int fd)
{
    uint64_t one = 1;
    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

static bool eventfd_take(int fd)
{
    uint64_t value;
    return read(fd, &value, sizeof(value)) == sizeof(value);
}

/* Turn until nothing happens any more. */
static void settle(AioContext *ctx)
{
    for (unsigned idle = 0; idle < 3; idle++) {
        if (aio_context_poll(ctx, false)) {
            idle = 0;
        }
    }
}

/* Until the kernel has let go of every removed handler. */
static void settle_deleted(AioContext *ctx)
{
    while (atomic_load(&ctx->has_deleted)) {
        aio_context_poll(ctx, false);
    }
}

/* --- one thread --- */

typedef struct Slot Slot;

struct Slot {
    AioContext *ctx;
    int fd;
    bool live; /* a handler is registered */
    unsigned calls;
    void (*action)(Slot *slot);
    Slot *other;
    AioFdOps ops;
};

static void slot_read(void *opaque)
{
    Slot *slot = opaque;
    g_assert_true(slot->live); /* never after the removal */
    slot->calls++;
    if (slot->action) {
        slot->action(slot);
    } else {
        eventfd_take(slot->fd);
    }
}

static void slot_add(Slot *slot)
{
    static const AioFdOps ops = {.read = slot_read};
    slot->live = true;
    aio_set_fd_handler(slot->ctx, slot->fd, &ops, slot);
}

static void slot_remove(Slot *slot)
{
    slot->live = false;
    aio_set_fd_handler(slot->ctx, slot->fd, NULL, NULL);
}

static void slot_open(Slot *slot, AioContext *ctx)
{
    *slot = (Slot){.ctx = ctx, .fd = eventfd_new()};
}

static void slot_close(Slot *slot)
{
    slot_remove(slot);
    close(slot->fd);
}

static void test_table(void)
{
    static const AioFdOps nothing = {.read = NULL};
    AioContext *ctx = test_context_new();
    int unpolled = atomic_load(&ctx->unpolled_handlers);
    Slot slot;

    aio_set_fd_handler(ctx, 12345, NULL, NULL); /* unknown: nothing happens */
    aio_set_fd_handler(ctx, 12345, &nothing, NULL);
    slot_open(&slot, ctx);
    for (unsigned i = 0; i < 5; i++) {
        slot_add(&slot); /* replaces: one live handler */
        g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, unpolled + 1);
    }
    eventfd_raise(slot.fd);
    test_poll_until(ctx, slot.calls > 0);
    settle(ctx);
    g_assert_cmpuint(slot.calls, ==, 1);
    aio_set_fd_handler(ctx, slot.fd, &nothing, NULL); /* without callbacks: removes */
    g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, unpolled);
    slot.live = false;
    eventfd_raise(slot.fd);
    settle(ctx);
    slot_close(&slot);
    settle_deleted(ctx);
    aio_context_free(ctx);
}

static void other_read(void *opaque)
{
    Slot *slot = opaque;
    slot->calls += 100;
    eventfd_take(slot->fd);
}

static void change_self(Slot *slot)
{
    static const AioFdOps ops = {.read = other_read};
    aio_set_fd_handler(slot->ctx, slot->fd, &ops, slot);
}

/* The event stays up: the next callback is that of the new handler. */
static void test_change_inside(void)
{
    AioContext *ctx = test_context_new();
    Slot slot;
    slot_open(&slot, ctx);
    slot.action = change_self;
    slot_add(&slot);
    eventfd_raise(slot.fd);
    test_poll_until(ctx, slot.calls >= 100);
    settle(ctx);
    g_assert_cmpuint(slot.calls, ==, 101);
    slot_close(&slot);
    aio_context_free(ctx);
}

static void leave_up(Slot *slot)
{
}

/* Level triggered: as long as the cause is there, each turn calls. */
static void test_level(void)
{
    AioContext *ctx = test_context_new();
    Slot slot;
    slot_open(&slot, ctx);
    slot.action = leave_up;
    slot_add(&slot);
    eventfd_raise(slot.fd);
    for (unsigned i = 0; i < 100; i++) {
        unsigned calls = slot.calls;
        test_poll_until(ctx, slot.calls > calls);
        g_assert_cmpuint(slot.calls, ==, calls + 1);
    }
    slot_close(&slot);
    settle(ctx);
    aio_context_free(ctx);
}

static void remove_other(Slot *slot)
{
    eventfd_take(slot->fd);
    slot_remove(slot->other);
}

/* Both are ready in the same turn; whichever comes first removes the other. */
static void test_remove_ready(void)
{
    AioContext *ctx = test_context_new();
    for (unsigned round = 0; round < 100; round++) {
        Slot slots[2];
        slot_open(&slots[0], ctx);
        slot_open(&slots[1], ctx);
        for (unsigned i = 0; i < 2; i++) {
            slots[i].other = &slots[!i];
            slots[i].action = remove_other;
            slot_add(&slots[i]);
            eventfd_raise(slots[i].fd);
        }
        test_poll_until(ctx, slots[0].calls + slots[1].calls > 0);
        settle(ctx);
        g_assert_cmpuint(slots[0].calls + slots[1].calls, ==, 1);
        slot_close(&slots[0]);
        slot_close(&slots[1]);
    }
    settle_deleted(ctx);
    aio_context_free(ctx);
}

static void reuse_other(Slot *slot)
{
    eventfd_take(slot->fd);
    slot->action = NULL;
    slot->other->action = NULL;
    slot_close(slot->other);
    /* The same number, another object, without an event. */
    int fd = slot->other->fd;
    slot_open(slot->other, slot->ctx);
    g_assert_cmpint(slot->other->fd, ==, fd);
    slot_add(slot->other);
}

/* The new owner of a descriptor number does not get the old one's event. */
static void test_reused_number(void)
{
    AioContext *ctx = test_context_new();
    for (unsigned round = 0; round < 100; round++) {
        Slot slots[2];
        slot_open(&slots[0], ctx);
        slot_open(&slots[1], ctx);
        for (unsigned i = 0; i < 2; i++) {
            slots[i].other = &slots[!i];
            slots[i].action = reuse_other;
            slot_add(&slots[i]);
            eventfd_raise(slots[i].fd);
        }
        test_poll_until(ctx, slots[0].calls + slots[1].calls > 0);
        settle(ctx);
        g_assert_cmpuint(slots[0].calls + slots[1].calls, ==, 1);
        /* And it does get its own. */
        eventfd_raise(slots[0].fd);
        eventfd_raise(slots[1].fd);
        test_poll_until(ctx, slots[0].calls + slots[1].calls == 3);
        slot_close(&slots[0]);
        slot_close(&slots[1]);
    }
    settle_deleted(ctx);
    aio_context_free(ctx);
}

/* Add, arm, raise, remove, close and reuse in a random order. */
static void test_remove_in_flight(void)
{
    enum { SLOTS = 8, ROUNDS = 20000 };
    AioContext *ctx = test_context_new();
    Slot slots[SLOTS];

    for (unsigned i = 0; i < SLOTS; i++) {
        slot_open(&slots[i], ctx);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        Slot *slot = &slots[g_test_rand_int_range(0, SLOTS)];
        switch (g_test_rand_int_range(0, 8)) {
        case 0:
        case 1:
            slot_add(slot);
            break;
        case 2:
            slot_remove(slot);
            break;
        case 3:
            slot_close(slot);
            slot_open(slot, ctx);
            break;
        case 4:
        case 5:
            eventfd_raise(slot->fd);
            break;
        case 6:
            /* Only SQEs, no walk of the CQ: the events stay on their way. */
            ctx->monitor->arm(ctx);
            break;
        case 7:
            aio_context_poll(ctx, false);
            break;
        }
    }
    /* Whatever happened, each of them works. */
    for (unsigned i = 0; i < SLOTS; i++) {
        slots[i].calls = 0;
        slot_add(&slots[i]);
        eventfd_raise(slots[i].fd);
        test_poll_until(ctx, slots[i].calls > 0);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        slot_close(&slots[i]);
    }
    settle_deleted(ctx);
    aio_context_free(ctx);
}

/* A context that is freed with armed handlers, ready ones and removed ones. */
static void test_free_armed(void)
{
    for (unsigned round = 0; round < 50; round++) {
        AioContext *ctx = test_context_new();
        Slot slots[6];
        for (unsigned i = 0; i < 6; i++) {
            slot_open(&slots[i], ctx);
            slot_add(&slots[i]);
        }
        if (round % 2) {
            ctx->monitor->arm(ctx);
        }
        eventfd_raise(slots[0].fd);
        eventfd_raise(slots[1].fd);
        slot_remove(&slots[1]);
        slot_remove(&slots[2]);
        if (round % 3 == 0) {
            aio_context_poll(ctx, false);
        }
        aio_context_free(ctx);
        for (unsigned i = 0; i < 6; i++) {
            close(slots[i].fd);
        }
    }
}

/* Watching descriptors does not use up what requests and other descriptors need. */
static void test_more_than_cq(void)
{
    enum { SLOTS = 40 };
    AioContextParams params;
    GError *error = NULL;
    Slot slots[SLOTS];

    test_context_params(&params);
    params.ring.entries = 4;
    params.ring.cq_entries = 8;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < SLOTS; i++) {
        slot_open(&slots[i], ctx);
        slot_add(&slots[i]);
    }
    settle(ctx);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            eventfd_raise(slots[i].fd);
            test_poll_until(ctx, slots[i].calls == 2 * round + 1);
        }
        for (unsigned i = 0; i < SLOTS; i++) {
            eventfd_raise(slots[i].fd);
        }
        for (unsigned i = 0; i < SLOTS; i++) {
            test_poll_until(ctx, slots[i].calls == 2 * round + 2);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        slot_close(&slots[i]);
    }
    settle_deleted(ctx);
    aio_context_free(ctx);
}

/* --- removal inside the callbacks of poll mode --- */

typedef struct Spinner {
    AioContext *ctx;
    int fd;
    enum { IN_CHECK, IN_READY, IN_BEGIN, IN_END, IN_NONE } where;
    bool removed;
    unsigned calls;
} Spinner;

static void spinner_maybe_remove(Spinner *spinner, unsigned where)
{
    g_assert_false(spinner->removed);
    spinner->calls++;
    if (spinner->where == where) {
        spinner->removed = true;
        aio_set_fd_handler(spinner->ctx, spinner->fd, NULL, NULL);
    }
}

static bool spinner_check(void *opaque)
{
    Spinner *spinner = opaque;
    spinner_maybe_remove(spinner, IN_CHECK);
    return spinner->where == IN_READY && spinner->calls > 3;
}

static void spinner_ready(void *opaque)
{
    spinner_maybe_remove(opaque, IN_READY);
}

static void spinner_begin(void *opaque)
{
    spinner_maybe_remove(opaque, IN_BEGIN);
}

static void spinner_end(void *opaque)
{
    spinner_maybe_remove(opaque, IN_END);
}

static void spinner_read(void *opaque)
{
    Spinner *spinner = opaque;
    g_assert_false(spinner->removed);
    eventfd_take(spinner->fd);
}

static void test_remove_in_poll_mode(void)
{
    static const AioFdOps ops = {
        .read = spinner_read,
        .poll = spinner_check,
        .poll_ready = spinner_ready,
        .poll_begin = spinner_begin,
        .poll_end = spinner_end,
    };
    AioContext *ctx = test_context_new();
    AioPollParams params;

    aio_poll_params_init(&params);
    params.max_ns = 200 * 1000;
    params.insist = true;
    aio_context_set_poll_params(ctx, &params);
    for (unsigned where = IN_CHECK; where <= IN_NONE; where++) {
        Spinner spinners[2] = {{.ctx = ctx, .where = IN_NONE}, {.ctx = ctx, .where = where}};
        AioTimer timer;
        for (unsigned i = 0; i < 2; i++) {
            spinners[i].fd = eventfd_new();
            aio_set_fd_handler(ctx, spinners[i].fd, &ops, &spinners[i]);
            eventfd_raise(spinners[i].fd); /* enrols */
        }
        settle(ctx);
        for (unsigned i = 0; i < 5; i++) {
            ctx->poll_ns = 200 * 1000;
            aio_timer_init(&timer, ctx, aio_timer_cancel);
            aio_timer_arm_after(&timer, 1000 * 1000);
            test_poll_until(ctx, !aio_timer_is_armed(&timer));
        }
        g_assert_true(spinners[1].removed == (where != IN_NONE));
        for (unsigned i = 0; i < 2; i++) {
            aio_set_fd_handler(ctx, spinners[i].fd, NULL, NULL);
            close(spinners[i].fd);
        }
        settle_deleted(ctx);
    }
    aio_context_free(ctx);
}

/* --- several threads --- */

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

    g_test_add_func("/handler/B1-table", test_table);
    g_test_add_func("/handler/B2-change-inside", test_change_inside);
    g_test_add_func("/handler/B3-hang-up", test_hang_up);
    g_test_add_func("/handler/C16-level", test_level);
    g_test_add_func("/handler/B10-remove-ready", test_remove_ready);
    g_test_add_func("/handler/B10-reused-number", test_reused_number);
    g_test_add_func("/handler/B8-remove-in-flight", test_remove_in_flight);
    g_test_add_func("/handler/C14-free-armed", test_free_armed);
    g_test_add_func("/handler/C12-more-than-cq", test_more_than_cq);
    g_test_add_func("/handler/B7-remove-in-poll-mode", test_remove_in_poll_mode);
    g_test_add_func("/handler/B9-add-while-asleep", test_add_while_asleep);
    g_test_add_func("/handler/C12-churn", test_churn);
    g_test_add_func("/handler/C12-chaos", test_chaos);
    return g_test_run();
}
