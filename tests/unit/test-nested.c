/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns of the loop inside callbacks: what the outer turn has not yet handled
 * is continued by the inner one, exactly once, and nothing is freed under the
 * outer one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/handler.h"
#include "aio/io.h"
#include "aio/pool.h"
#include "aio/timer.h"
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

static bool event_take(Event *event)
{
    uint64_t value;
    return read(event->fd, &value, sizeof(value)) == sizeof(value);
}

static void event_raise(const Event *event)
{
    uint64_t one = 1;
    g_assert_cmpint(write(event->fd, &one, sizeof(one)), ==, sizeof(one));
}

static void event_read(void *opaque)
{
    Event *event = opaque;
    event->calls++;
    event->depth++;
    /* Level triggered: a callback that nests takes its event first. */
    g_assert_true(event_take(event));
    if (event->action) {
        event->action(event);
    }
    event->depth--;
}

static const AioFdOps event_ops = {.read = event_read};

static void events_init(Event *events, unsigned n, AioContext *ctx)
{
    for (unsigned i = 0; i < n; i++) {
        events[i] =
            (Event){.ctx = ctx, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .others = events};
        g_assert_cmpint(events[i].fd, >=, 0);
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

/* Nothing is left to do: a turn makes no progress. */
static void assert_idle(AioContext *ctx)
{
    for (unsigned i = 0; i < 3; i++) {
        g_assert_false(aio_context_poll(ctx, false));
    }
    g_assert_cmpuint(ctx->walking, ==, 0);
    g_assert_cmpuint(ctx->depth, ==, 0);
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
    uint64_t value;
    polled->read_calls++;
    g_assert_cmpint(read(polled->fd, &value, sizeof(value)), ==, sizeof(value));
    polled_nest(polled);
}

static void polled_raise(void *opaque)
{
    Polled *polled = opaque;
    uint64_t one = 1;
    polled->work = 1;
    g_assert_cmpint(write(polled->fd, &one, sizeof(one)), ==, sizeof(one));
}

/* A poll-ready callback turns the loop while the context is in poll mode. */
static void test_nested_poll_ready(void)
{
    static const AioFdOps ops = {
        .read = polled_read, .poll = polled_check, .poll_ready = polled_ready};
    AioContext *ctx = test_context_new();
    AioPollParams params;
    Event event;
    Polled polled = {.ctx = ctx, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .awaited = &event};

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

/* --- bottom halves --- */

typedef struct Half {
    AioContext *ctx;
    AioBh *bh;
    GString *log;
    char name;
    struct Half *awaited;
    unsigned calls;
} Half;

static void half_run(void *opaque)
{
    Half *half = opaque;
    half->calls++;
    g_string_append_c(half->log, half->name);
    if (half->awaited) {
        test_poll_until(half->ctx, half->awaited->calls == 1);
    }
    g_string_append_c(half->log, (char)(half->name - 'a' + 'A'));
}

/* The first of a slice waits for the last one of the same slice. */
static void test_bh_slice(void)
{
    AioContext *ctx = test_context_new();
    GString *log = g_string_new(NULL);
    Half halves[3];
    for (unsigned i = 0; i < 3; i++) {
        halves[i] = (Half){.ctx = ctx, .log = log, .name = (char)('a' + i)};
        halves[i].bh = aio_bh_new(ctx, half_run, &halves[i]);
        aio_bh_schedule(halves[i].bh);
    }
    halves[0].awaited = &halves[2];
    test_poll_until(ctx, halves[0].calls == 1);
    g_assert_cmpstr(log->str, ==, "abBcCA");
    assert_idle(ctx);
    g_assert_cmpstr(log->str, ==, "abBcCA");
    for (unsigned i = 0; i < 3; i++) {
        aio_bh_delete(halves[i].bh);
    }
    g_string_free(log, TRUE);
    aio_context_free(ctx);
}

typedef struct Chain {
    AioContext *ctx;
    AioBh *self;
    unsigned left;
    unsigned depth;
} Chain;

/* Schedules itself and waits for itself, and deletes itself at the bottom. */
static void chain_run(void *opaque)
{
    Chain *chain = opaque;
    chain->depth++;
    if (--chain->left > 0) {
        aio_bh_schedule(chain->self);
        test_poll_until(chain->ctx, chain->left == 0);
    } else {
        aio_bh_delete(chain->self);
        aio_context_poll(chain->ctx, false); /* may free it here */
    }
    chain->depth--;
}

static void test_bh_deleted_inside(void)
{
    AioContext *ctx = test_context_new();
    Chain chain = {.ctx = ctx, .left = 10};
    chain.self = aio_bh_new(ctx, chain_run, &chain);
    aio_bh_schedule(chain.self);
    test_poll_until(ctx, chain.left == 0);
    g_assert_cmpuint(chain.depth, ==, 0);
    assert_idle(ctx);
    aio_context_free(ctx);
}

/* --- timers --- */

typedef struct Alarm {
    AioTimer timer;
    struct Alarm *awaited;
    unsigned calls;
} Alarm;

static void alarm_ring(AioTimer *timer)
{
    Alarm *alarm_ = aio_container_of(timer, Alarm, timer);
    alarm_->calls++;
    if (alarm_->awaited) {
        test_poll_until(timer->ctx, alarm_->awaited->calls == 1);
    }
}

static void test_timers(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarms[3] = {{.calls = 0}};
    int64_t now_ns = aio_clock_ns();
    for (unsigned i = 0; i < 3; i++) {
        aio_timer_init(&alarms[i].timer, ctx, alarm_ring);
        aio_timer_arm(&alarms[i].timer, now_ns + i); /* all due at once */
    }
    alarms[0].awaited = &alarms[2];
    test_poll_until(ctx, alarms[0].calls == 1);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(alarms[i].calls, ==, 1);
    }
    assert_idle(ctx);
    aio_context_free(ctx);
}

static void alarm_in_the_past(AioTimer *timer)
{
    Alarm *alarm_ = aio_container_of(timer, Alarm, timer);
    alarm_->calls++;
    aio_timer_arm(timer, 0);
}

/* A timer that is always late takes its turn with the others. */
static void test_timer_in_the_past(void)
{
    AioContext *ctx = test_context_new();
    Alarm late = {.calls = 0}, other = {.calls = 0};

    aio_timer_init(&late.timer, ctx, alarm_in_the_past);
    aio_timer_arm(&late.timer, 0);
    aio_timer_init(&other.timer, ctx, alarm_ring);
    for (unsigned i = 1; i <= 5; i++) {
        aio_timer_arm(&other.timer, aio_clock_ns());
        g_assert_true(aio_context_poll(ctx, true));
        g_assert_cmpuint(late.calls, ==, i);
        g_assert_cmpuint(other.calls, ==, i);
    }
    aio_timer_cancel(&late.timer);
    aio_context_free(ctx);
}

/* --- completions --- */

typedef struct Transfer {
    AioIo io;
    AioContext *ctx;
    struct Transfer *awaited;
    unsigned calls;
    char buf[512];
} Transfer;

static void transfer_done(AioIo *io)
{
    Transfer *transfer = aio_container_of(io, Transfer, io);
    g_assert_cmpint(io->result, ==, 0);
    transfer->calls++;
    if (transfer->awaited) {
        test_poll_until(transfer->ctx, transfer->awaited->calls == 1);
    }
}

/* Cached reads complete together; each callback waits for the request after it. */
static void test_io_completions(void)
{
    enum { N = 8 };
    AioContext *ctx = test_context_new();
    int fd = test_temp_file(N * 512, 0);
    Transfer *transfers = g_new0(Transfer, N);

    for (unsigned i = 0; i < N; i++) {
        transfers[i].ctx = ctx;
        transfers[i].awaited = i + 1 < N ? &transfers[i + 1] : NULL;
        aio_io_init_read(&transfers[i].io, fd, transfers[i].buf, 512, 512 * i);
        aio_io_submit(ctx, &transfers[i].io, transfer_done);
    }
    test_poll_until(ctx, transfers[0].calls == 1);
    test_poll_until(ctx, transfers[N - 1].calls == 1);
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpuint(transfers[i].calls, ==, 1);
    }
    /* The helper of a transfer that another's bottom half delivered is yet to schedule its own. */
    aio_pool_shared_fini();
    while (aio_context_poll(ctx, false)) {
    }
    for (unsigned i = 0; i < N; i++) {
        g_assert_cmpuint(transfers[i].calls, ==, 1);
    }
    assert_idle(ctx);
    g_free(transfers);
    close(fd);
    aio_context_free(ctx);
}

typedef struct Request {
    CqeHandler cqe;
    AioContext *ctx;
    struct Request *awaited;
    unsigned calls;
    unsigned again;
} Request;

static void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

static void request_done(CqeHandler *cqe)
{
    Request *request = aio_container_of(cqe, Request, cqe);
    request->calls++;
    g_assert_cmpint(cqe->res, ==, 0);
    if (request->again > 0) {
        /* Reuses its own handler and waits for itself. */
        unsigned calls = request->calls;
        request->again--;
        aio_ring_add(aio_context_ring(request->ctx), prepare_nop, NULL, cqe);
        test_poll_until(request->ctx, request->calls > calls);
    } else if (request->awaited) {
        test_poll_until(request->ctx, request->awaited->calls > 0);
    }
}

static bool skip_without_ring(AioContext *ctx)
{
    if (aio_context_ring(ctx)) {
        return false;
    }
    aio_context_free(ctx);
    g_test_skip("this monitor has no ring");
    return true;
}

/* Both CQEs are taken in one walk; the first callback waits for the second. */
static void test_cqe_handlers(void)
{
    AioContext *ctx = test_context_new();
    if (skip_without_ring(ctx)) {
        return;
    }
    AioRing *ring = aio_context_ring(ctx);
    Request requests[2] = {{.ctx = ctx}, {.ctx = ctx}};
    requests[0].awaited = &requests[1];
    for (unsigned i = 0; i < 2; i++) {
        requests[i].cqe.callback = request_done;
        aio_ring_add(ring, prepare_nop, NULL, &requests[i].cqe);
    }
    test_poll_until(ctx, requests[0].calls == 1);
    g_assert_cmpuint(requests[1].calls, ==, 1);
    assert_idle(ctx);
    aio_context_free(ctx);
}

static void test_cqe_reuse(void)
{
    AioContext *ctx = test_context_new();
    if (skip_without_ring(ctx)) {
        return;
    }
    Request request = {.ctx = ctx, .again = 20};
    request.cqe.callback = request_done;
    aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &request.cqe);
    test_poll_until(ctx, request.calls == 21);
    assert_idle(ctx);
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
    g_test_add_func("/nested/B40-slice", test_bh_slice);
    g_test_add_func("/nested/B39-deleted-inside", test_bh_deleted_inside);
    g_test_add_func("/nested/timers", test_timers);
    g_test_add_func("/nested/timer-in-the-past", test_timer_in_the_past);
    g_test_add_func("/nested/A15-io", test_io_completions);
    g_test_add_func("/nested/C9-cqe-handlers", test_cqe_handlers);
    g_test_add_func("/nested/C10-reuse-own-handler", test_cqe_reuse);
    g_test_add_func("/nested/B31-woken-from-outside", test_woken_while_nested);
    return g_test_run();
}
