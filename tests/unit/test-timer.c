/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timers, and the deadlines that a context's ring carries for them (aio/timer.c, deadline.c). */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/ring-internal.h"

#define MICROSECOND INT64_C(1000)
#define MILLISECOND (INT64_C(1000) * MICROSECOND)
/* What is to be far away must not come while the test runs, however slow the machine is. */
#define HOUR (INT64_C(3600) * 1000 * MILLISECOND)

typedef struct Alarm {
    AioTimer timer;
    unsigned calls;
    int64_t fired_ns;
} Alarm;

static void alarm_rings(AioTimer *timer)
{
    Alarm *alarm_ = aio_container_of(timer, Alarm, timer);
    alarm_->fired_ns = aio_clock_ns();
    alarm_->calls++;
    g_assert_cmpint(alarm_->fired_ns, >=, timer->deadline_ns); /* never early */
}

static void alarm_init(Alarm *alarm_, AioContext *ctx)
{
    *alarm_ = (Alarm){0};
    aio_timer_init(&alarm_->timer, ctx, alarm_rings);
}

static void wait_for(AioContext *ctx, Alarm *alarm_, int64_t delay_ns)
{
    unsigned calls = alarm_->calls;
    aio_timer_arm_after(&alarm_->timer, delay_ns);
    test_poll_until(ctx, alarm_->calls > calls);
    g_assert_cmpuint(alarm_->calls, ==, calls + 1);
}

static void note_bh(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static gpointer schedule_bh(gpointer bh)
{
    aio_bh_schedule(bh);
    return NULL;
}

/* A turn that waits, until another thread wakes it: it tells the kernel of the first timer. */
static void turn_and_wait(AioContext *ctx)
{
    unsigned woken = 0;
    AioBh *bh = aio_bh_new(ctx, note_bh, &woken);
    AioStats before, after;

    aio_context_get_stats(ctx, &before);
    do {
        woken = 0;
        GThread *waker = g_thread_new("waker", schedule_bh, bh);
        test_poll_until(ctx, woken == 1);
        g_thread_join(waker);
        aio_context_get_stats(ctx, &after);
    } while (after.blocking_waits == before.blocking_waits);
    aio_bh_delete(bh);
    aio_context_poll(ctx, false); /* frees it: nothing is left to keep the next turn awake */
}

static bool carries(AioContext *ctx)
{
    return ctx->carried_ns != INT64_MAX;
}

/* A turn whose waker is quick has nothing to wait for, and carries nothing: then another one. */
static void wait_until_carried(AioContext *ctx)
{
    do {
        turn_and_wait(ctx);
    } while (aio_context_ring(ctx) && !carries(ctx));
}

static uint64_t sqes(AioContext *ctx)
{
    AioStats stats;
    aio_context_get_stats(ctx, &stats);
    return stats.sqes;
}

static void test_fires(void)
{
    static const int64_t delays_ns[] = {0,
                                        1,
                                        20 * MICROSECOND,
                                        99 * MICROSECOND,
                                        150 * MICROSECOND,
                                        2 * MILLISECOND,
                                        20 * MILLISECOND,
                                        3 * MILLISECOND};
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(delays_ns); i++) {
            wait_for(ctx, &alarm_, delays_ns[i]);
        }
    }
    aio_context_free(ctx);
}

/* Random deadlines fire in their order; some are moved or cancelled on the way. */
static void test_many(void)
{
    enum { COUNT = 500 };
    AioContext *ctx = test_context_new();
    g_autofree Alarm *alarms = g_new0(Alarm, COUNT);
    unsigned expected = COUNT, rung;

    for (unsigned i = 0; i < COUNT; i++) {
        alarm_init(&alarms[i], ctx);
        aio_timer_arm_after(&alarms[i].timer, g_test_rand_int_range(0, 30000) * MICROSECOND);
    }
    for (unsigned i = 0; i < COUNT; i += 7) {
        if (i % 2) {
            aio_timer_cancel(&alarms[i].timer);
            expected--;
        } else {
            aio_timer_arm_after(&alarms[i].timer, g_test_rand_int_range(0, 30000) * MICROSECOND);
        }
    }
    do {
        aio_context_poll(ctx, true);
        rung = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            g_assert_cmpuint(alarms[i].calls, <=, 1);
            rung += alarms[i].calls;
        }
    } while (rung < expected);
    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (alarms[i].calls && alarms[k].calls &&
                alarms[i].timer.deadline_ns < alarms[k].timer.deadline_ns) {
                g_assert_cmpint(alarms[i].fired_ns, <=, alarms[k].fired_ns);
            }
        }
    }
    aio_context_free(ctx);
}

/* A timer that is put off in each turn costs its SQE once, and fires in the end. */
static void test_put_off(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    aio_timer_arm_after(&alarm_.timer, HOUR);
    wait_until_carried(ctx);
    uint64_t before = sqes(ctx);
    AioStats first, last;
    aio_context_get_stats(ctx, &first);
    for (unsigned i = 0; i < 100; i++) {
        aio_timer_arm_after(&alarm_.timer, HOUR);
        turn_and_wait(ctx);
    }
    aio_context_get_stats(ctx, &last);
    if (aio_context_ring(ctx)) { /* the wake-ups' reads of the eventfd, and nothing else */
        g_assert_cmpuint(sqes(ctx) - before, <=, last.wakes_sent - first.wakes_sent + 1);
    }
    wait_for(ctx, &alarm_, 2 * MILLISECOND);
    aio_context_free(ctx);
}

/* What the ring carries fires before the timer, which has been put off: it is armed again. */
static void test_put_off_a_little(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    for (unsigned round = 0; round < 10; round++) {
        aio_timer_arm_after(&alarm_.timer, 2 * MILLISECOND);
        turn_and_wait(ctx);
        wait_for(ctx, &alarm_, 6 * MILLISECOND);
    }
    aio_context_free(ctx);
}

static void test_brought_forward(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    for (unsigned round = 0; round < 10; round++) {
        aio_timer_arm_after(&alarm_.timer, HOUR);
        turn_and_wait(ctx);
        wait_for(ctx, &alarm_, 3 * MILLISECOND);
        wait_for(ctx, &alarm_, 50 * MICROSECOND);
    }
    aio_context_free(ctx);
}

/* Brought forward in each turn: no more SQEs than deadlines that the ring may carry. */
static void test_brought_forward_again_and_again(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;
    AioStats first, last;

    alarm_init(&alarm_, ctx);
    turn_and_wait(ctx);
    aio_context_get_stats(ctx, &first);
    for (unsigned i = 0; i < 100; i++) {
        aio_timer_arm_after(&alarm_.timer, HOUR - (int64_t)i * 1000 * MILLISECOND);
        turn_and_wait(ctx);
    }
    aio_context_get_stats(ctx, &last);
    if (aio_context_ring(ctx)) {
        g_assert_cmpuint(last.sqes - first.sqes, <=,
                         last.wakes_sent - first.wakes_sent + 1 + AIO_DEADLINES);
    }
    wait_for(ctx, &alarm_, 3 * MILLISECOND);
    aio_context_free(ctx);
}

/* Two timers: the late one keeps its place while the early one comes again and again. */
static void test_tick_beside_far(void)
{
    AioContext *ctx = test_context_new();
    Alarm far, tick;
    AioStats first, last;

    alarm_init(&far, ctx);
    alarm_init(&tick, ctx);
    aio_timer_arm_after(&far.timer, HOUR);
    turn_and_wait(ctx);
    aio_context_get_stats(ctx, &first);
    for (unsigned i = 0; i < 20; i++) {
        wait_for(ctx, &tick, MILLISECOND);
    }
    aio_context_get_stats(ctx, &last);
    if (aio_context_ring(ctx)) {
        g_assert_cmpuint(last.sqes - first.sqes, <=, 20 + 1);
    }
    g_assert_cmpuint(far.calls, ==, 0);
    aio_timer_cancel(&far.timer);
    aio_context_free(ctx);
}

static void test_cancel(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_, later;

    alarm_init(&alarm_, ctx);
    alarm_init(&later, ctx);
    aio_timer_arm_after(&alarm_.timer, 5 * MILLISECOND);
    turn_and_wait(ctx);
    bool rang = alarm_.calls == 1; /* a slow machine */
    aio_timer_cancel(&alarm_.timer);
    g_assert_false(aio_timer_is_armed(&alarm_.timer));
    wait_for(ctx, &later, 15 * MILLISECOND);
    g_assert_cmpuint(alarm_.calls, ==, rang);
    aio_context_free(ctx);
}

/* A timer comes due in turns that never wait. */
static void test_without_waiting(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    for (unsigned round = 0; round < 10; round++) {
        unsigned calls = alarm_.calls;
        aio_timer_arm_after(&alarm_.timer, 2 * MILLISECOND);
        if (round % 2) {
            turn_and_wait(ctx); /* carried */
        }
        while (alarm_.calls == calls) {
            aio_context_poll(ctx, false);
        }
    }
    aio_context_free(ctx);
}

static void test_spinning(void)
{
    AioContext *ctx = test_context_new();
    AioPollParams params;
    Alarm alarm_, far;

    aio_poll_params_init(&params);
    params.max_ns = 5 * MILLISECOND;
    params.insist = true;
    aio_context_set_poll_params(ctx, &params);
    alarm_init(&alarm_, ctx);
    alarm_init(&far, ctx);
    aio_timer_arm_after(&far.timer, HOUR);
    for (unsigned round = 0; round < 20; round++) {
        aio_context_poll(ctx, false);
        ctx->poll_ns = params.max_ns;
        wait_for(ctx, &alarm_, (int64_t)round * 200 * MICROSECOND);
    }
    aio_timer_cancel(&far.timer);
    aio_context_free(ctx);
}

typedef struct Nest {
    Alarm outer;
    Alarm inner;
} Nest;

static void outer_rings(AioTimer *timer)
{
    Nest *nest = aio_container_of(timer, Nest, outer.timer);
    alarm_rings(timer);
    wait_for(timer->ctx, &nest->inner, MILLISECOND);
}

/* A timer's callback turns the loop until another one has fired. */
static void test_nested(void)
{
    AioContext *ctx = test_context_new();
    Alarm far;
    Nest nest;

    alarm_init(&far, ctx);
    alarm_init(&nest.outer, ctx);
    alarm_init(&nest.inner, ctx);
    nest.outer.timer.fn = outer_rings;
    aio_timer_arm_after(&far.timer, HOUR);
    for (unsigned round = 1; round <= 10; round++) {
        wait_for(ctx, &nest.outer, 2 * MILLISECOND);
        g_assert_cmpuint(nest.inner.calls, ==, round);
    }
    aio_timer_cancel(&far.timer);
    aio_context_free(ctx);
}

/* An idle bottom half is called in 10 ms, whatever the ring carries. */
static void test_idle_bh_beside(void)
{
    AioContext *ctx = test_context_new();
    unsigned called = 0;
    AioBh *idle = aio_bh_new(ctx, note_bh, &called);
    Alarm far;

    turn_and_wait(ctx);
    alarm_init(&far, ctx);
    aio_timer_arm_after(&far.timer, HOUR); /* not carried before the first round */
    for (unsigned round = 1; round <= 3; round++) {
        aio_bh_schedule_idle(idle);
        test_poll_until(ctx, called == round);
        turn_and_wait(ctx);
    }
    aio_bh_delete(idle);
    aio_timer_cancel(&far.timer);
    aio_context_free(ctx);
}

/* Freeing does not wait for what the ring carries. */
static void test_free(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    alarm_init(&alarm_, ctx);
    for (unsigned i = 0; i <= AIO_DEADLINES; i++) {
        aio_timer_arm_after(&alarm_.timer, HOUR - (int64_t)i * 1000 * MILLISECOND);
        wait_until_carried(ctx);
    }
    g_assert_cmpint(carries(ctx), ==, aio_context_ring(ctx) != NULL);
    aio_timer_cancel(&alarm_.timer);
    aio_context_free(ctx);
}

static void test_kernel_has_no_timeouts(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    for (unsigned how = 0; how < 2; how++) {
        if (how == 0) {
            ctx->deadlines_refused = true;
        } else if (ctx->ring) {
            ctx->deadlines_refused = false;
            ctx->ring->opcodes &= ~(UINT64_C(1) << IORING_OP_TIMEOUT);
        }
        alarm_init(&alarm_, ctx);
        aio_timer_arm_after(&alarm_.timer, HOUR);
        turn_and_wait(ctx);
        wait_for(ctx, &alarm_, 3 * MILLISECOND);
        g_assert_false(carries(ctx));
    }
    aio_context_free(ctx);
}

/* The kernel refuses the request itself: the timer fires, and no other request is made. */
static void test_request_is_refused(void)
{
    AioContext *ctx = test_context_new();
    Alarm alarm_;

    if (!aio_context_ring(ctx)) {
        aio_context_free(ctx);
        g_test_skip("no ring");
        return;
    }
    alarm_init(&alarm_, ctx);
    aio_timer_arm_after(&alarm_.timer, HOUR);
    wait_until_carried(ctx);
    for (unsigned i = 0; i < AIO_DEADLINES; i++) {
        if (ctx->deadlines[i].armed) { /* as the kernel would, in its place */
            CqeHandler *cqe = &ctx->deadlines[i].cqe;
            AioDeadline refused = {.ctx = ctx, .armed = true, .cqe = *cqe};
            refused.cqe.res = -EINVAL;
            cqe->callback(&refused.cqe);
            g_assert_false(refused.armed);
        }
    }
    g_assert_true(ctx->deadlines_refused);
    wait_for(ctx, &alarm_, 3 * MILLISECOND);
    aio_context_free(ctx);
}

typedef struct PipeRead {
    CqeHandler cqe;
    int fd;
    char byte;
} PipeRead;

static unsigned pipe_reads;

static void prepare_pipe_read(struct io_uring_sqe *sqe, void *opaque)
{
    PipeRead *reader = opaque;
    io_uring_prep_read(sqe, reader->fd, &reader->byte, 1, 0);
}

static void pipe_read_done(CqeHandler *cqe)
{
    pipe_reads++;
}

/* The ring is full of what does not end: a deadline that waits in the backlog ends no wait. */
static void test_full_ring(void)
{
    enum { READS = 20 };
    AioContextParams params;
    test_context_params(&params);
    params.ring.entries = 4;
    params.ring.cq_entries = 8;
    AioContext *ctx = aio_context_new(&params, NULL);
    g_assert_nonnull(ctx);
    AioRing *ring = aio_context_ring(ctx);
    if (!ring) {
        aio_context_free(ctx);
        g_test_skip("no ring");
        return;
    }
    PipeRead reads[READS] = {0};
    Alarm alarm_;
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);

    pipe_reads = 0;
    for (unsigned i = 0; i < READS; i++) {
        reads[i].fd = fds[0];
        reads[i].cqe.callback = pipe_read_done;
        aio_ring_add(ring, prepare_pipe_read, &reads[i], &reads[i].cqe);
    }
    alarm_init(&alarm_, ctx);
    wait_for(ctx, &alarm_, 3 * MILLISECOND);
    wait_for(ctx, &alarm_, 3 * MILLISECOND);
    g_assert_cmpuint(ring->backlog.count, >, 0);
    for (unsigned i = 0; i < READS; i++) {
        g_assert_cmpint(write(fds[1], "", 1), ==, 1);
    }
    test_poll_until(ctx, pipe_reads == READS);
    wait_for(ctx, &alarm_, 3 * MILLISECOND);
    close(fds[0]);
    close(fds[1]);
    aio_context_free(ctx);
}

/* A child whose clock is @offset seconds ahead, in a time namespace. 77: there are none here. */
static int run_elsewhere_in_time(const char *offset)
{
    pid_t outer = fork();
    if (outer == 0) {
        g_autofree char *offsets = g_strdup_printf("monotonic %s 0\n", offset);
        int fd = -1;
        if (unshare(CLONE_NEWTIME) < 0 || (fd = open("/proc/self/timens_offsets", O_WRONLY)) < 0 ||
            write(fd, offsets, strlen(offsets)) < 0) {
            _exit(77);
        }
        pid_t inner = fork();
        if (inner == 0) {
            dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
            execl("/proc/self/exe", "test-timer", "-p", "/timer/fires", "-p", "/timer/many", "-p",
                  "/timer/put-off", "-p", "/timer/tick-beside-far", NULL);
            _exit(78);
        }
        int status = -1;
        waitpid(inner, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 79);
    }
    int status = -1;
    g_assert_cmpint(waitpid(outer, &status, 0), ==, outer);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* There points in time mean something else to us than to the kernel's rings. */
static void test_time_namespace(void)
{
    int ahead = run_elsewhere_in_time("1000");
    if (ahead == 77) {
        g_test_skip("no time namespaces here");
        return;
    }
    g_assert_cmpint(ahead, ==, 0);
    int behind = run_elsewhere_in_time("-5");
    g_assert_true(behind == 0 || behind == 77); /* 77: this machine has just been started */
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/timer/fires", test_fires);
    g_test_add_func("/timer/many", test_many);
    g_test_add_func("/timer/put-off", test_put_off);
    g_test_add_func("/timer/put-off-a-little", test_put_off_a_little);
    g_test_add_func("/timer/brought-forward", test_brought_forward);
    g_test_add_func("/timer/brought-forward-again-and-again", test_brought_forward_again_and_again);
    g_test_add_func("/timer/tick-beside-far", test_tick_beside_far);
    g_test_add_func("/timer/cancel", test_cancel);
    g_test_add_func("/timer/without-waiting", test_without_waiting);
    g_test_add_func("/timer/spinning", test_spinning);
    g_test_add_func("/timer/nested", test_nested);
    g_test_add_func("/timer/idle-bh-beside", test_idle_bh_beside);
    g_test_add_func("/timer/free", test_free);
    g_test_add_func("/timer/kernel-has-no-timeouts", test_kernel_has_no_timeouts);
    g_test_add_func("/timer/request-is-refused", test_request_is_refused);
    g_test_add_func("/timer/full-ring", test_full_ring);
    g_test_add_func("/timer/time-namespace", test_time_namespace);
    return g_test_run();
}
