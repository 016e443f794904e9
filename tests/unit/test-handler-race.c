/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor handlers that are added, changed and removed by their own thread
 * in the worst moment: while their event is on its way, and from their own and
 * from others' callbacks. Run it under AddressSanitizer.
 */
#include <stdatomic.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/handler.h"
#include "loop-util.h"
#include "util.h"

/* --- in the callback of an event, and around it --- */

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

/* Two handlers with @action are ready in the same turn: it lets only one of them be called. */
static void pair_race(Slot slots[2], AioContext *ctx, void (*action)(Slot *slot))
{
    slot_open(&slots[0], ctx);
    slot_open(&slots[1], ctx);
    for (unsigned i = 0; i < 2; i++) {
        slots[i].other = &slots[!i];
        slots[i].action = action;
        slot_add(&slots[i]);
        eventfd_raise(slots[i].fd);
    }
    test_poll_until(ctx, slots[0].calls + slots[1].calls > 0);
    settle(ctx);
    g_assert_cmpuint(slots[0].calls + slots[1].calls, ==, 1);
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
        pair_race(slots, ctx, remove_other);
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
        pair_race(slots, ctx, reuse_other);
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

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/handler/B1-table", test_table);
    g_test_add_func("/handler/B2-change-inside", test_change_inside);
    g_test_add_func("/handler/C16-level", test_level);
    g_test_add_func("/handler/B10-remove-ready", test_remove_ready);
    g_test_add_func("/handler/B10-reused-number", test_reused_number);
    g_test_add_func("/handler/B8-remove-in-flight", test_remove_in_flight);
    g_test_add_func("/handler/C14-free-armed", test_free_armed);
    g_test_add_func("/handler/C12-more-than-cq", test_more_than_cq);
    g_test_add_func("/handler/B7-remove-in-poll-mode", test_remove_in_poll_mode);
    return g_test_run();
}
