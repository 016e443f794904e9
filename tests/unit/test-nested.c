/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns of the loop inside callbacks of descriptors: what the outer turn has
 * not yet handled is continued by the inner one, exactly once, and nothing is
 * freed under the outer one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/handler.h"
#include "loop-util.h"
#include "util.h"

/* --- descriptors --- */

typedef struct Event Event;

struct Event {
    AioContext *ctx;
    int fd;
    unsigned calls;
    unsigned depth; /* callbacks of this event on the stack */
    void (*action)(Event *event);
    Event *others; /* the array that this one is in */
};

static void event_raise(const Event *event)
{
    eventfd_raise(event->fd);
}

static void event_read(void *opaque)
{
    Event *event = opaque;
    event->calls++;
    event->depth++;
    /* Level triggered: a callback that nests takes its event first. */
    g_assert_true(eventfd_take(event->fd));
    if (event->action) {
        event->action(event);
    }
    event->depth--;
}

static const AioFdOps event_ops = {.read = event_read};

static void events_init(Event *events, unsigned n, AioContext *ctx)
{
    for (unsigned i = 0; i < n; i++) {
        events[i] = (Event){.ctx = ctx, .fd = eventfd_new(), .others = events};
        aio_set_fd_handler(ctx, events[i].fd, &event_ops, &events[i]);
    }
}

static void events_fini(Event *events, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        aio_set_fd_handler(events[i].ctx, events[i].fd, NULL, NULL);
        close(events[i].fd);
    }
}

static unsigned events_calls(const Event *events, unsigned n)
{
    unsigned calls = 0;
    for (unsigned i = 0; i < n; i++) {
        calls += events[i].calls;
    }
    return calls;
}

static void nest_for_the_other(Event *event)
{
    Event *other = event == &event->others[0] ? &event->others[1] : &event->others[0];
    if (event->others[0].depth + event->others[1].depth == 1) {
        test_poll_until(event->ctx, other->calls == 1);
    }
}

/* Both are ready in one turn; the first waits for the second in a nested one. */
static void test_parents_ready(void)
{
    AioContext *ctx = test_context_new();
    Event events[2];
    events_init(events, 2, ctx);
    for (unsigned i = 0; i < 2; i++) {
        events[i].action = nest_for_the_other;
        event_raise(&events[i]);
    }
    test_poll_until(ctx, events_calls(events, 2) > 0);
    g_assert_cmpuint(events[0].calls, ==, 1);
    g_assert_cmpuint(events[1].calls, ==, 1); /* the parent did not repeat it */
    assert_idle(ctx);
    g_assert_cmpuint(events_calls(events, 2), ==, 2);
    events_fini(events, 2);
    aio_context_free(ctx);
}

static void remove_event(Event *event)
{
    aio_set_fd_handler(event->ctx, event->fd, NULL, NULL);
}

enum { CROWD = 5 };

static void remove_crowd_at_depth_two(Event *event)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        depth += event->others[i].depth;
    }
    if (depth == 1) {
        /* Another one, at depth two, removes this one, itself and the rest. */
        for (unsigned i = 0; i < 20; i++) {
            aio_context_poll(event->ctx, false);
        }
        g_assert_cmpuint(event->depth, ==, 1); /* our memory is still ours */
        g_assert_cmpuint(event->ctx->walking, ==, 1);
    } else {
        for (unsigned i = 0; i < CROWD; i++) {
            remove_event(&event->others[i]);
        }
        /* A third level walks over what was removed. */
        for (unsigned i = 0; i < 20; i++) {
            aio_context_poll(event->ctx, false);
        }
    }
}

static void test_remove_in_nested(void)
{
    AioContext *ctx = test_context_new();
    for (unsigned round = 0; round < 20; round++) {
        Event events[CROWD];
        events_init(events, CROWD, ctx);
        for (unsigned i = 0; i < CROWD; i++) {
            events[i].action = remove_crowd_at_depth_two;
            event_raise(&events[i]);
        }
        test_poll_until(ctx, events_calls(events, CROWD) > 0);
        /* One at each of two levels; the others were removed before their turn. */
        g_assert_cmpuint(events_calls(events, CROWD), ==, 2);
        assert_idle(ctx);
        g_assert_cmpuint(events_calls(events, CROWD), ==, 2);
        events_fini(events, CROWD);
    }
    test_poll_until(ctx, (aio_context_poll(ctx, false), !atomic_load(&ctx->has_deleted)));
    aio_context_free(ctx);
}

typedef struct Both {
    AioContext *ctx;
    int fd;
    unsigned reads;
} Both;

static void both_read(void *opaque)
{
    Both *both = opaque;
    both->reads++;
    aio_set_fd_handler(both->ctx, both->fd, NULL, NULL);
    for (unsigned i = 0; i < 5; i++) {
        aio_context_poll(both->ctx, false); /* must not free the node that is dispatched */
    }
}

static void both_write(void *opaque)
{
    g_assert_not_reached();
}

/* Readable and writable; the first callback removes the handler and nests. */
static void test_remove_before_write(void)
{
    static const AioFdOps ops = {.read = both_read, .write = both_write};
    AioContext *ctx = test_context_new();
    Both both = {.ctx = ctx, .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)};

    aio_set_fd_handler(ctx, both.fd, &ops, &both);
    test_poll_until(ctx, both.reads == 1);
    assert_idle(ctx);
    close(both.fd);
    aio_context_free(ctx);
}

static void replace_action(Event *event)
{
    aio_set_fd_handler(event->ctx, event->fd, &event_ops, event);
    event_raise(event);
    if (event->depth == 1) {
        test_poll_until(event->ctx, event->calls == 2);
        event->action = NULL;
    }
}

/* The replaced node is walked by the outer turn while the new one is called inside. */
static void test_replace_in_nested(void)
{
    AioContext *ctx = test_context_new();
    Event event;
    events_init(&event, 1, ctx);
    event.action = replace_action;
    event_raise(&event);
    test_poll_until(ctx, event.calls == 3);
    assert_idle(ctx);
    events_fini(&event, 1);
    aio_context_free(ctx);
}

enum { DEEP = 40 };

static void dive(Event *event)
{
    if (event->depth < DEEP) {
        event_raise(event);
        test_poll_until(event->ctx, event->calls >= DEEP);
    }
}

static void test_deep(void)
{
    AioContext *ctx = test_context_new();
    Event event;
    events_init(&event, 1, ctx);
    event.action = dive;
    event_raise(&event);
    test_poll_until(ctx, event.calls > 0);
    g_assert_cmpuint(event.calls, ==, DEEP);
    assert_idle(ctx);
    events_fini(&event, 1);
    aio_context_free(ctx);
}

/* --- poll checks --- */

typedef struct Polled {
    AioContext *ctx;
    int fd;
    _Atomic unsigned work;
    unsigned ready_calls;
    unsigned read_calls;
    unsigned depth;
    Event *awaited;
} Polled;

static bool polled_check(void *opaque)
{
    Polled *polled = opaque;
    return polled->work > 0;
}

static void polled_nest(Polled *polled)
{
    polled->depth++;
    g_assert_cmpuint(polled->depth, ==, 1);
    if (polled->work > 0) {
        polled->work = 0; /* the check is false before the nested turn */
        unsigned calls = polled->awaited->calls;
        event_raise(polled->awaited);
        test_poll_until(polled->ctx, polled->awaited->calls > calls);
    }
    polled->depth--;
}

static void polled_ready(void *opaque)
{
    Polled *polled = opaque;
    polled->ready_calls++;
    polled_nest(polled);
}

static void polled_read(void *opaque)
{
    Polled *polled = opaque;
    polled->read_calls++;
    g_assert_true(eventfd_take(polled->fd));
    polled_nest(polled);
}

static void polled_raise(void *opaque)
{
    Polled *polled = opaque;
    polled->work = 1;
    eventfd_raise(polled->fd);
}

/* A poll-ready callback turns the loop while the context is in poll mode. */
static void test_nested_poll_ready(void)
{
    static const AioFdOps ops = {
        .read = polled_read, .poll = polled_check, .poll_ready = polled_ready};
    AioContext *ctx = test_context_new();
    AioPollParams params;
    Event event;
    Polled polled = {.ctx = ctx, .fd = eventfd_new(), .awaited = &event};

    aio_poll_params_init(&params);
    params.max_ns = 1000 * 1000;
    params.insist = true;
    aio_context_set_poll_params(ctx, &params);
    events_init(&event, 1, ctx);
    aio_set_fd_handler(ctx, polled.fd, &ops, &polled);

    for (unsigned round = 1; round <= 50; round++) {
        unsigned calls = event.calls;
        if (round % 2 == 1) {
            polled_raise(&polled); /* enrols the handler for polling */
        } else {
            polled.work = 1; /* seen by the check alone */
        }
        ctx->poll_ns = 1000 * 1000 * 1000;
        /* Only a spin sees the check; the other monitors do not spin with an unpolled handler. */
        bool blocking = round % 2 == 1 || aio_context_monitor(ctx) == AIO_MONITOR_URING;
        while (event.calls == calls) {
            aio_context_poll(ctx, blocking);
        }
    }
    g_assert_cmpuint(polled.read_calls, >=, 1);
    g_assert_cmpuint(polled.ready_calls, >=, 1);
    aio_set_fd_handler(ctx, polled.fd, NULL, NULL);
    close(polled.fd);
    assert_idle(ctx);
    events_fini(&event, 1);
    aio_context_free(ctx);
}

/* --- woken from outside while nested --- */

typedef struct Outside {
    AioContext *ctx;
    _Atomic unsigned sent;
    unsigned received;
} Outside;

static void outside_arrived(void *opaque)
{
    Outside *outside = opaque;
    outside->received++;
}

static void *outside_thread(void *opaque)
{
    Outside *outside = opaque;
    outside->sent++;
    aio_bh_call_once(outside->ctx, outside_arrived, outside);
    return NULL;
}

static void nest_for_thread(Event *event)
{
    Outside outside = {.ctx = event->ctx};
    pthread_t thread;
    g_assert_cmpint(pthread_create(&thread, NULL, outside_thread, &outside), ==, 0);
    test_poll_until(event->ctx, outside.received == 1);
    pthread_join(thread, NULL);
}

static void test_woken_while_nested(void)
{
    AioContext *ctx = test_context_new();
    Event event;
    events_init(&event, 1, ctx);
    event.action = nest_for_thread;
    for (unsigned i = 1; i <= 50; i++) {
        event_raise(&event);
        test_poll_until(ctx, event.calls == i);
    }
    assert_idle(ctx);
    events_fini(&event, 1);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/nested/B11-parents-ready", test_parents_ready);
    g_test_add_func("/nested/B7-remove-at-depth-two", test_remove_in_nested);
    g_test_add_func("/nested/B7-remove-before-write", test_remove_before_write);
    g_test_add_func("/nested/B2-replace", test_replace_in_nested);
    g_test_add_func("/nested/B7-deep", test_deep);
    g_test_add_func("/nested/B11-poll-ready", test_nested_poll_ready);
    g_test_add_func("/nested/B31-woken-from-outside", test_woken_while_nested);
    return g_test_run();
}
