/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One turn of the loop: its order, results, counters and clock (aio/context*.c, batch.c). */
#include "util.h"

#include <string.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "context-probe.h"
#include "ring-util.h"

static unsigned deferred;

static void count_deferred(void *opaque)
{
    deferred++;
}

static void test_batch_sections(void)
{
    AioContext *ctx = test_context_new();
    int a, b;

    deferred = 0;
    aio_batch_defer(ctx, count_deferred, &a); /* outside of any: at once */
    g_assert_cmpuint(deferred, ==, 1);
    aio_batch_begin(ctx);
    aio_batch_defer(ctx, count_deferred, &a);
    aio_batch_defer(ctx, count_deferred, &a); /* the same pair: once */
    aio_batch_begin(ctx);
    aio_batch_defer(ctx, count_deferred, &b);
    aio_batch_end(ctx);
    g_assert_cmpuint(deferred, ==, 1);
    aio_batch_end(ctx);
    g_assert_cmpuint(deferred, ==, 3);
    aio_context_free(ctx);
}

static void test_counters(void)
{
    AioContext *ctx = test_context_new();
    AioStats before, after;
    Probe probe;

    probe_init(&probe, ctx, &polled_ops);
    aio_context_get_stats(ctx, &before);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    aio_bh_call_once(ctx, count_deferred, NULL);
    aio_context_poll(ctx, true);
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.turns, >=, before.turns + 2);
    g_assert_cmpuint(after.fd_events, ==, before.fd_events + 1);
    g_assert_cmpuint(after.bottom_halves, ==, before.bottom_halves + 1);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void rearm_in_read(void *opaque)
{
    Probe *probe = opaque;
    probe_read(opaque);
    if (probe->reads == 1) {
        probe_kick(probe); /* becomes ready again inside its own callback */
    }
}

static void test_rearm_in_callback(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioFdOps ops = {.read = rearm_in_read};

    probe_init(&probe, ctx, &ops);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 2);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_read_before_write(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioFdOps ops = {.read = probe_read, .write = probe_write};

    probe_init(&probe, ctx, &ops);
    probe.order = g_string_new(NULL);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    aio_set_fd_handler(ctx, probe.fd, NULL, NULL);
    g_assert_nonnull(strstr(probe.order->str, "read write"));
    g_string_free(probe.order, TRUE);
    close(probe.fd);
    aio_context_free(ctx);
}

static void test_notify_is_no_progress(void)
{
    AioContext *ctx = test_context_new();
    for (int i = 0; i < 100; i++) {
        aio_context_notify(ctx);
        g_assert_false(aio_context_poll(ctx, false));
    }
    aio_context_free(ctx);
}

static void note_completion(CqeHandler *handler)
{
}

/* Non-blocking turns of an idle ring context make no system call. */
static void test_nonblocking_needs_no_enter(void)
{
    AioContext *ctx = test_context_new();
    AioStats before, after;

    while (aio_context_poll(ctx, false)) {
    }
    aio_context_poll(ctx, false);
    aio_context_get_stats(ctx, &before);
    for (int i = 0; i < 1000; i++) {
        aio_context_poll(ctx, false);
    }
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.enters - before.enters, ==, 0);
    g_assert_cmpuint(after.blocking_waits - before.blocking_waits, ==, 0);
    aio_context_free(ctx);
}

/* A reading of the clock serves so many marks, and none after a turn or a submission. */
static void test_shared_reading(void)
{
    AioContext *ctx = test_context_new();

    int64_t first_ns = aio_context_read_clock(ctx);
    for (unsigned i = 1; i < AIO_SHARED_READINGS; i++) {
        g_assert_cmpint(aio_context_now(ctx), ==, first_ns);
    }
    g_usleep(1000);
    int64_t before_ns = aio_clock_ns();
    int64_t second_ns = aio_context_now(ctx);
    g_assert_cmpint(second_ns, >=, before_ns);
    g_assert_cmpint(second_ns, <=, aio_clock_ns());
    g_assert_cmpint(aio_context_now(ctx), ==, second_ns);

    before_ns = aio_clock_ns();
    aio_context_time_passed(ctx);
    g_assert_cmpint(aio_context_now(ctx), >=, before_ns);

    before_ns = aio_clock_ns();
    aio_context_poll(ctx, false);
    g_assert_cmpint(aio_context_now(ctx), >=, before_ns);

    AioRing *ring = aio_context_ring(ctx);
    if (ring) {
        CqeHandler handler = {.callback = note_completion};
        aio_ring_add(ring, prepare_nop, NULL, &handler);
        aio_context_read_clock(ctx);
        before_ns = aio_clock_ns();
        g_assert_cmpint(aio_ring_submit(ring), ==, 0);
        g_assert_cmpint(aio_context_now(ctx), >=, before_ns);
        test_poll_until(ctx, !handler.busy);
    }
    aio_context_free(ctx);
}

static void test_monitor_choice(void)
{
    AioContext *ctx = test_context_new();
    AioMonitorKind expected = test_monitor_kind();
    if (expected == AIO_MONITOR_AUTO) {
        expected = test_uring_denied() ? AIO_MONITOR_EPOLL : AIO_MONITOR_URING;
    }
    g_assert_cmpint(aio_context_monitor(ctx), ==, expected);
    aio_context_free(ctx);
}

static gpointer poll_elsewhere(gpointer ctx)
{
    aio_context_poll(ctx, false);
    return NULL;
}

static void test_home_thread_only(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = test_context_new();
        g_thread_join(g_thread_new("foreign", poll_elsewhere, ctx));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*is_home*");
}

static GString *order; /* of the callbacks, while a test asks for it */

static void note_timer(AioTimer *timer)
{
    if (order) {
        g_string_append(order, "timer ");
    }
}

static void note_bh(void *opaque)
{
    g_string_append(opaque, "bh ");
}

static void test_turn_order(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioTimer timer;
    AioFdOps ops = {.read = probe_read};

    probe_init(&probe, ctx, &ops);
    aio_context_poll(ctx, false);
    order = g_string_new(NULL);
    probe.order = order;
    aio_timer_init(&timer, ctx, note_timer);
    aio_timer_arm(&timer, aio_clock_ns());
    aio_bh_call_once(ctx, note_bh, order);
    probe_kick(&probe);
    g_assert_true(aio_context_poll(ctx, true));
    test_poll_until(ctx, probe.reads == 1);
    g_assert_true(g_str_has_prefix(order->str, "bh "));
    if (strstr(order->str, "read") < strstr(order->str, "timer")) {
        g_assert_cmpstr(order->str, ==, "bh read timer ");
    }
    g_string_free(order, TRUE);
    order = NULL;
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_progress(void)
{
    AioContext *ctx = test_context_new();
    AioTimer timer;
    Probe probe;

    g_assert_false(aio_context_poll(ctx, false));
    aio_bh_call_once(ctx, count_deferred, NULL);
    g_assert_true(aio_context_poll(ctx, false));
    AioBh *idle = aio_bh_new(ctx, count_deferred, NULL);
    aio_bh_schedule_idle(idle);
    g_assert_false(aio_context_poll(ctx, false));
    aio_timer_init(&timer, ctx, note_timer);
    aio_timer_arm(&timer, aio_clock_ns());
    g_assert_true(aio_context_poll(ctx, false));
    probe_init(&probe, ctx, &polled_ops);
    probe_kick(&probe);
    g_assert_true(aio_context_poll(ctx, true));
    g_assert_cmpuint(probe.reads, ==, 1);
    aio_bh_delete(idle);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_free_twice(void)
{
    aio_context_free(test_context_new());
    aio_context_free(NULL);
    aio_context_free(test_context_new());
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/context/A11-batch-sections", test_batch_sections);
    g_test_add_func("/context/A29-counters", test_counters);
    g_test_add_func("/context/B12-rearm-in-callback", test_rearm_in_callback);
    g_test_add_func("/context/B14-read-before-write", test_read_before_write);
    g_test_add_func("/context/B15-notify-is-no-progress", test_notify_is_no_progress);
    g_test_add_func("/context/B21-B22-nonblocking-needs-no-enter", test_nonblocking_needs_no_enter);
    g_test_add_func("/context/shared-reading", test_shared_reading);
    g_test_add_func("/context/B36-monitor-choice", test_monitor_choice);
    g_test_add_func("/context/B37-home-thread-only", test_home_thread_only);
    g_test_add_func("/context/B38-turn-order", test_turn_order);
    g_test_add_func("/context/B41-progress", test_progress);
    g_test_add_func("/context/C15-free-twice", test_free_twice);
    return g_test_run();
}
