/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Busy polling of the loop: what a spin looks at, how long, and when not (aio/context-poll.c). */
#include "util.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/iothread.h"
#include "context-probe.h"

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

static void test_poll_without_ready_is_ignored(void)
{
    AioContext *ctx = test_context_new();
    Probe probe;
    AioFdOps ops = {.read = probe_read, .poll = probe_poll};

    probe_init_read(&probe, ctx, &ops);
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
}

/* Spinning does not add to the sleep: the deadline holds. */
static void test_spin_counts_against_timeout(void)
{
    AioContext *ctx = test_context_new();
    int64_t timeout_ns = 1000000000;
    force_poll(ctx, 1000000);
    Probe probe;
    probe_init_read(&probe, ctx, &polled_ops);
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

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/context/B4-poll-without-ready-is-ignored",
                    test_poll_without_ready_is_ignored);
    g_test_add_func("/context/B5-unpolled-count", test_unpolled_count);
    g_test_add_func("/context/B13-B14-B16-enrolment-and-begin-end", test_enrolment_and_begin_end);
    g_test_add_func("/context/B17-B19-idle-removal", test_idle_removal);
    g_test_add_func("/context/preempted-spin-pauses", test_preempted_spin_pauses);
    g_test_add_func("/context/spin-found-by-monitor", test_spin_found_by_monitor);
    g_test_add_func("/context/spin-for-ring-only", test_spin_for_ring_only);
    g_test_add_func("/context/B20-spin-counts-against-timeout", test_spin_counts_against_timeout);
    g_test_add_func("/context/B24-slow-handler-is-not-block-time",
                    test_slow_handler_is_not_block_time);
    g_test_add_func("/context/B30-set-poll-params", test_set_poll_params);
    return g_test_run();
}
