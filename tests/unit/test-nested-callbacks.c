/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns of the loop inside other callbacks than a descriptor's: of bottom
 * halves, timers and completions. What is due with the one that nests is
 * called by the inner turn, exactly once.
 */
#include <unistd.h>

#include "aio/bh.h"
#include "aio/io.h"
#include "aio/pool.h"
#include "aio/timer.h"
#include "loop-util.h"
#include "ring-util.h"
#include "util.h"

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

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/nested/B40-slice", test_bh_slice);
    g_test_add_func("/nested/B39-deleted-inside", test_bh_deleted_inside);
    g_test_add_func("/nested/timers", test_timers);
    g_test_add_func("/nested/timer-in-the-past", test_timer_in_the_past);
    g_test_add_func("/nested/A15-io", test_io_completions);
    g_test_add_func("/nested/C9-cqe-handlers", test_cqe_handlers);
    g_test_add_func("/nested/C10-reuse-own-handler", test_cqe_reuse);
    return g_test_run();
}
