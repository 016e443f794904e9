/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One turn of the loop: handlers, busy polling, order, results (aio/context*.c, handler.c). */
#include "util.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/iothread.h"

/* A handler of an eventfd that counts its callbacks and logs them. */
typedef struct Probe {
    AioContext *ctx;
    int fd;
    bool has_work;    /* what the poll check says */
    bool work_at_end; /* work that appears inside poll_end */
    unsigned reads, writes, polls, ready, begins, ends;
} Probe;

static GString *order;

static void probe_log(const char *what)
{
    if (order) {
        g_string_append_printf(order, "%s ", what);
    }
}

static void probe_read(void *opaque)
{
    Probe *probe = opaque;
    eventfd_t value;
    (void)eventfd_read(probe->fd, &value);
    probe->reads++;
    probe_log("read");
}

static void probe_write(void *opaque)
{
    Probe *probe = opaque;
    probe->writes++;
    probe_log("write");
}

static bool probe_poll(void *opaque)
{
    Probe *probe = opaque;
    probe->polls++;
    return probe->has_work;
}

static void probe_poll_ready(void *opaque)
{
    Probe *probe = opaque;
    probe->has_work = false;
    probe->ready++;
    probe_log("poll-ready");
}

static void probe_begin(void *opaque)
{
    ((Probe *)opaque)->begins++;
}

static void probe_end(void *opaque)
{
    Probe *probe = opaque;
    probe->ends++;
    if (probe->work_at_end) {
        probe->work_at_end = false;
        probe->has_work = true;
    }
}

static const AioFdOps polled_ops = {
    .read = probe_read,
    .poll = probe_poll,
    .poll_ready = probe_poll_ready,
    .poll_begin = probe_begin,
    .poll_end = probe_end,
};

static void probe_init(Probe *probe, AioContext *ctx, const AioFdOps *ops)
{
    *probe = (Probe){.ctx = ctx, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    g_assert_cmpint(probe->fd, >=, 0);
    aio_set_fd_handler(ctx, probe->fd, ops, probe);
}

static void probe_fini(Probe *probe)
{
    aio_set_fd_handler(probe->ctx, probe->fd, NULL, NULL);
    close(probe->fd);
}

static void probe_kick(Probe *probe)
{
    g_assert_cmpint(eventfd_write(probe->fd, 1), ==, 0);
}

/* Spin for @ns before every wait, however short the waits are. */
static void force_poll(AioContext *ctx, int64_t ns)
{
    AioPollParams params;
    aio_poll_params_init(&params);
    params.max_ns = ns;
    params.insist = true;
    aio_context_set_poll_params(ctx, &params);
    aio_context_poll(ctx, false);
    ctx->poll_ns = ns;
}

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

static void test_poll_without_ready_is_ignored(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioFdOps ops = {.read = probe_read, .poll = probe_poll};

    probe_init(&probe, ctx, &ops);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    force_poll(ctx, 100000);
    aio_context_poll(ctx, false);
    g_assert_cmpuint(probe.polls, ==, 0);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_unpolled_count(void)
{
    AioContext *ctx = test_context_new();
    int before = atomic_load(&ctx->unpolled_handlers);
    Probe probe;
    AioFdOps plain = {.read = probe_read};

    probe_init(&probe, ctx, &plain);
    g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, before + 1);
    aio_set_fd_handler(ctx, probe.fd, &polled_ops, &probe);
    g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, before);
    aio_set_fd_handler(ctx, probe.fd, &plain, &probe);
    g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, before + 1);
    probe_fini(&probe);
    g_assert_cmpint(atomic_load(&ctx->unpolled_handlers), ==, before);
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

/* Ready descriptors are polled from then on; poll mode begins and ends in pairs. */
static void test_enrolment_and_begin_end(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;

    probe_init(&probe, ctx, &polled_ops);
    force_poll(ctx, 1000000);
    g_assert_cmpuint(probe.polls, ==, 0); /* never ready: not enrolled */
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    g_assert_nonnull(probe.ctx->polled.first);

    /* A spin that finds work stays in poll mode and needs no read callback. */
    ctx->poll_ns = 1000000;
    probe.has_work = true;
    aio_context_poll(ctx, true);
    g_assert_cmpuint(probe.ready, ==, 1);
    g_assert_cmpuint(probe.reads, ==, 1); /* B14: poll_ready only */
    g_assert_cmpuint(probe.begins, ==, 1);
    g_assert_cmpuint(probe.ends, ==, 0);

    /* Nothing to find: poll mode ends, and the last look sees what raced. */
    probe.work_at_end = true;
    ctx->poll_ns = 1000;
    aio_context_poll(ctx, true);
    g_assert_cmpuint(probe.ends, ==, 1);
    g_assert_cmpuint(probe.ready, ==, 2);
    g_assert_false(aio_context_poll_stop(ctx)); /* idempotent */
    g_assert_cmpuint(probe.ends, ==, 1);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_read_before_write(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioFdOps ops = {.read = probe_read, .write = probe_write};

    order = g_string_new(NULL);
    probe_init(&probe, ctx, &ops);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    aio_set_fd_handler(ctx, probe.fd, NULL, NULL);
    g_assert_nonnull(strstr(order->str, "read write"));
    g_string_free(order, TRUE);
    order = NULL;
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

static int64_t fake_now_ns;

static int64_t fake_clock(void)
{
    return fake_now_ns;
}

static void spin_once(AioContext *ctx)
{
    int64_t timeout_ns = 0;
    /* A sweep and the removal of idle handlers, as a spin does them. */
    timeout_ns = 1;
    ctx->poll_ns = 1;
    fake_now_ns += 1;
    aio_context_spin(ctx, &timeout_ns);
}

static int64_t ticking_clock(void)
{
    return fake_now_ns++;
}

static void test_idle_removal(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;

    probe_init(&probe, ctx, &polled_ops);
    ctx->clock_ns = fake_clock;
    fake_now_ns = 1000;
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    AioHandler *handler = ctx->polled.first;
    while (handler && handler->fd != probe.fd) {
        handler = handler->polled_link.next;
    }
    g_assert_nonnull(handler);
    g_assert_cmpint(handler->idle_deadline_ns, ==, 1000 + AIO_POLL_IDLE_NS);

    ctx->clock_ns = ticking_clock;
    fake_now_ns = 1000 + AIO_POLL_IDLE_NS - 10000000; /* 6.99 s */
    spin_once(ctx);
    g_assert_nonnull(handler->polled_link.pprev);
    /* Success refreshes the deadline. */
    probe.has_work = true;
    spin_once(ctx);
    g_assert_cmpint(handler->idle_deadline_ns, >, 1000 + AIO_POLL_IDLE_NS);
    aio_context_poll(ctx, false);
    int64_t deadline_ns = handler->idle_deadline_ns;

    unsigned ends = probe.ends, polls = probe.polls;
    fake_now_ns = deadline_ns + 1;
    spin_once(ctx);
    g_assert_null(handler->polled_link.pprev);
    g_assert_cmpuint(probe.ends, ==, ends + 1);
    g_assert_cmpuint(probe.polls, >=, polls + 2); /* the sweep and the last look */
    aio_context_poll_stop(ctx);
    ctx->clock_ns = aio_clock_ns;

    /* The next event enrols it again. */
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 2);
    g_assert_nonnull(handler->polled_link.pprev);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static int64_t jumping_clock(void)
{
    return fake_now_ns += 2 * AIO_POLL_GAP_NS;
}

/* A worker that loses the CPU inside a spin does not spin for a while. */
static void test_preempted_spin_pauses(void)
{
    AioContext *ctx = test_context_new();
    AioStats stats;
    int64_t timeout_ns = -1;

    while (aio_context_poll(ctx, false)) {
    }
    ctx->clock_ns = jumping_clock;
    ctx->poll_ns = 1;
    aio_context_spin(ctx, &timeout_ns);
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_preempted, ==, 1);
    g_assert_cmpuint(stats.poll_pauses, ==, 1);

    timeout_ns = -1;
    ctx->clock_ns = ticking_clock;
    aio_context_spin(ctx, &timeout_ns);
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_hits + stats.poll_misses, ==, 1);
    fake_now_ns += AIO_POLL_PAUSE_MIN_NS;
    timeout_ns = -1;
    aio_context_spin(ctx, &timeout_ns);
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_hits + stats.poll_misses, ==, 2);
    g_assert_cmpuint(stats.poll_preempted, ==, 1);
    aio_context_poll_stop(ctx);
    ctx->clock_ns = aio_clock_ns;
    aio_context_free(ctx);
}

/* A context with a ring that may spin for a millisecond. NULL, and the test skipped: no ring. */
static AioContext *polling_ring_new(void)
{
    AioContext *ctx = test_context_new();

    if (aio_context_ring(ctx) == NULL) {
        aio_context_free(ctx);
        g_test_skip("no io_uring here");
        return NULL;
    }
    force_poll(ctx, 1000000);
    return ctx;
}

typedef struct RingRead {
    CqeHandler cqe;
    int fd;
    eventfd_t value;
    bool done;
} RingRead;

static void prepare_ring_read(struct io_uring_sqe *sqe, void *opaque)
{
    RingRead *read = opaque;
    io_uring_prep_read(sqe, read->fd, &read->value, sizeof(read->value), 0);
}

static void ring_read_done(CqeHandler *handler)
{
    aio_container_of(handler, RingRead, cqe)->done = true;
}

/* Work in the ring that goes on until somebody writes to its descriptor. */
static void ring_read_begin(RingRead *read, AioContext *ctx)
{
    *read = (RingRead){
        .cqe.callback = ring_read_done,
        .fd = eventfd(0, EFD_CLOEXEC),
    };
    g_assert_cmpint(read->fd, >=, 0);
    aio_ring_add(aio_context_ring(ctx), prepare_ring_read, read, &read->cqe);
}

static void ring_read_end(RingRead *read, AioContext *ctx)
{
    test_poll_until(ctx, read->done);
    close(read->fd);
}

static int completed_by_clock; /* the descriptor */

static int64_t completing_clock(void)
{
    if (++fake_now_ns == 1000) {
        eventfd_write(completed_by_clock, 1);
    }
    return fake_now_ns;
}

/* A completion that comes while the clock is read is found by the spin like any other. */
static void test_spin_found_by_monitor(void)
{
    AioContext *ctx = polling_ring_new();
    int64_t timeout_ns = -1;
    AioStats stats;
    RingRead read;

    if (ctx == NULL) {
        return;
    }
    ring_read_begin(&read, ctx);
    while (aio_context_poll(ctx, false)) {
    }
    completed_by_clock = read.fd;
    fake_now_ns = 0;
    ctx->clock_ns = completing_clock;
    g_assert_true(aio_context_spin(ctx, &timeout_ns));
    g_assert_cmpint(timeout_ns, ==, 0);
    g_assert_cmpint(fake_now_ns, ==, 1000);
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_hits, ==, 1);
    g_assert_cmpuint(stats.poll_misses, ==, 0);
    aio_context_poll_stop(ctx);
    ctx->clock_ns = aio_clock_ns;
    ring_read_end(&read, ctx);
    aio_context_free(ctx);
}

/* Told to spin for the ring's work only, it does so while there is some, and is not counted as
 * preempted. */
static void test_spin_for_ring_only(void)
{
    AioContext *ctx = polling_ring_new();
    int64_t timeout_ns = -1;
    AioStats stats;
    RingRead read;

    if (ctx == NULL) {
        return;
    }
    g_assert_true(aio_context_may_spin(ctx));
    aio_context_set_poll_scope(ctx, AIO_POLL_RING_WORK);
    g_assert_false(aio_context_may_spin(ctx));
    ring_read_begin(&read, ctx);
    g_assert_true(aio_context_may_spin(ctx)); /* queued */
    while (aio_context_poll(ctx, false)) {
    }
    g_assert_true(aio_context_may_spin(ctx)); /* in the kernel */

    ctx->poll.insist = false;
    ctx->clock_ns = jumping_clock;
    ctx->poll_ns = 1;
    aio_context_spin(ctx, &timeout_ns);
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_preempted, ==, 1);
    g_assert_cmpuint(stats.poll_pauses, ==, 0);
    g_assert_cmpuint(stats.poll_ns, <, AIO_POLL_GAP_NS); /* the rest was another's */
    aio_context_poll_stop(ctx);
    ctx->clock_ns = aio_clock_ns;

    eventfd_write(read.fd, 1);
    ring_read_end(&read, ctx);
    g_assert_false(aio_context_may_spin(ctx));
    aio_context_set_poll_scope(ctx, AIO_POLL_ANYTHING);
    g_assert_true(aio_context_may_spin(ctx));
    aio_context_set_poll_scope(ctx, AIO_POLL_NOTHING);
    g_assert_false(aio_context_may_spin(ctx));
    aio_context_free(ctx);
}

static bool timer_fired;

static void note_timer(AioTimer *timer)
{
    timer_fired = true;
    probe_log("timer");
}

/* Spinning does not add to the sleep: the deadline holds. */
static void test_spin_counts_against_timeout(void)
{
    AioContext *ctx = test_context_new();
    int64_t timeout_ns = 1000000000;
    force_poll(ctx, 1000000);
    Probe probe;
    probe_init(&probe, ctx, &polled_ops);
    probe_kick(&probe);
    test_poll_until(ctx, probe.reads == 1);
    ctx->poll_ns = 1000000;
    if (aio_context_spin(ctx, &timeout_ns) || timeout_ns == 0) {
        g_test_message("the spin was interrupted");
    } else {
        g_assert_cmpint(timeout_ns, <=, 1000000000 - 1000000);
    }
    aio_context_poll_stop(ctx);

    AioTimer timer;
    aio_timer_init(&timer, ctx, note_timer);
    timer_fired = false;
    int64_t start_ns = aio_clock_ns();
    aio_timer_arm_after(&timer, 20000000);
    test_poll_until(ctx, timer_fired);
    g_assert_cmpint(aio_clock_ns() - start_ns, >=, 20000000);
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
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

static void slow_read(void *opaque)
{
    probe_read(opaque);
    fake_now_ns += 60000000;
}

/* The time that callbacks take is not block time. */
static void test_slow_handler_is_not_block_time(void)
{
    static const AioFdOps slow_ops = {
        .read = slow_read, .poll = probe_poll, .poll_ready = probe_poll_ready};
    AioContext *ctx = test_context_new();
    AioPollParams params;
    Probe probe;

    aio_poll_params_init(&params);
    params.max_ns = 50000000; /* 50 ms: a wait is far below, the callback above */
    aio_context_set_poll_params(ctx, &params);
    aio_context_poll(ctx, false);
    ctx->clock_ns = ticking_clock; /* the machine may stop us for as long inside a wait */
    probe_init(&probe, ctx, &slow_ops);
    AioStats stats;
    for (unsigned i = 0; i < 5; i++) {
        probe_kick(&probe);
        test_poll_until(ctx, probe.reads == i + 1);
    }
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.poll_grown, >, 0); /* it would stay at 0 with waits that long */
    g_assert_cmpuint(stats.poll_shrunk, ==, 0);
    aio_context_poll_stop(ctx);
    ctx->clock_ns = aio_clock_ns;
    probe_fini(&probe);
    aio_context_free(ctx);
}

static void test_set_poll_params(void)
{
    AioContextParams context_params;
    test_context_params(&context_params);
    AioIoThread *thread = aio_iothread_new(&context_params, -1, NULL);
    AioContext *ctx = aio_iothread_context(thread);
    AioPollParams params, read_back;
    AioStats stats;

    aio_poll_params_init(&params);
    params.max_ns = 0;
    params.rule = AIO_POLL_WEIGHTED;
    aio_context_get_stats(ctx, &stats);
    uint64_t turns = stats.turns;
    aio_context_set_poll_params(ctx, &params);
    do { /* the sleeping loop turns at once */
        g_usleep(100);
        aio_context_get_stats(ctx, &stats);
    } while (stats.turns == turns);
    aio_context_get_poll_params(ctx, &read_back);
    g_assert_cmpint(read_back.max_ns, ==, 0);
    g_assert_cmpint(read_back.rule, ==, AIO_POLL_WEIGHTED);
    aio_iothread_free(thread);
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

static void note_bh(void *opaque)
{
    probe_log("bh");
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
    aio_timer_init(&timer, ctx, note_timer);
    aio_timer_arm(&timer, aio_clock_ns());
    aio_bh_call_once(ctx, note_bh, NULL);
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
    g_test_add_func("/context/B4-poll-without-ready-is-ignored",
                    test_poll_without_ready_is_ignored);
    g_test_add_func("/context/B5-unpolled-count", test_unpolled_count);
    g_test_add_func("/context/B12-rearm-in-callback", test_rearm_in_callback);
    g_test_add_func("/context/B13-B14-B16-enrolment-and-begin-end", test_enrolment_and_begin_end);
    g_test_add_func("/context/B14-read-before-write", test_read_before_write);
    g_test_add_func("/context/B15-notify-is-no-progress", test_notify_is_no_progress);
    g_test_add_func("/context/B17-B19-idle-removal", test_idle_removal);
    g_test_add_func("/context/preempted-spin-pauses", test_preempted_spin_pauses);
    g_test_add_func("/context/spin-found-by-monitor", test_spin_found_by_monitor);
    g_test_add_func("/context/spin-for-ring-only", test_spin_for_ring_only);
    g_test_add_func("/context/B20-spin-counts-against-timeout", test_spin_counts_against_timeout);
    g_test_add_func("/context/B21-B22-nonblocking-needs-no-enter", test_nonblocking_needs_no_enter);
    g_test_add_func("/context/shared-reading", test_shared_reading);
    g_test_add_func("/context/B24-slow-handler-is-not-block-time",
                    test_slow_handler_is_not_block_time);
    g_test_add_func("/context/B30-set-poll-params", test_set_poll_params);
    g_test_add_func("/context/B36-monitor-choice", test_monitor_choice);
    g_test_add_func("/context/B37-home-thread-only", test_home_thread_only);
    g_test_add_func("/context/B38-turn-order", test_turn_order);
    g_test_add_func("/context/B41-progress", test_progress);
    g_test_add_func("/context/C15-free-twice", test_free_twice);
    return g_test_run();
}
