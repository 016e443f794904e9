/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wake-ups: none is lost, and none costs a system call while the loop is awake.
 *
 * A lost wake-up shows as a hang, which the test runner ends: the loop waits
 * without a timeout for work that was published. Small windows between
 * producer and consumer make the consumer fall asleep all the time, large ones
 * keep it awake. SLUICE_TEST_STRESS=100000000 runs so many events each instead
 * of 2e5 (a tenth of it where each event puts the loop to sleep).
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/handler.h"
#include "aio/iothread.h"
#include "aio/timer.h"
#include "notify-producers.h"
#include "util.h"

static unsigned stress_events(void)
{
    const char *value = getenv("SLUICE_TEST_STRESS");
    return value ? (unsigned)strtoul(value, NULL, 10) : 200 * 1000;
}

static void stats_get(AioContext *ctx, AioStats *stats)
{
    aio_context_get_stats(ctx, stats);
}

/* --- B31, B32: publish work, then notify --- */

static void set_max_poll(AioContext *ctx, int64_t max_ns)
{
    AioPollParams params;
    aio_poll_params_init(&params);
    params.max_ns = max_ns;
    params.insist = true;
    aio_context_set_poll_params(ctx, &params);
}

/* A system call each at most: one for each time that the loop announced sleep. */
static void check_wakes(AioContext *ctx, uint64_t notifies)
{
    AioStats stats;
    stats_get(ctx, &stats);
    g_assert_cmpuint(stats.wakes_sent + stats.wakes_saved, >=, notifies);
    g_assert_cmpuint(stats.wakes_sent, <=, stats.turns);
    g_assert_cmpuint(stats.wakes_received, <=, stats.turns);
    g_test_message("%" G_GUINT64_FORMAT " notifications: %" G_GUINT64_FORMAT
                   " calls, %" G_GUINT64_FORMAT " turns, %" G_GUINT64_FORMAT
                   " sleeps, %" G_GUINT64_FORMAT " spins hit",
                   notifies, stats.wakes_sent, stats.turns, stats.blocking_waits, stats.poll_hits);
}

static void run_notify(unsigned window, int64_t max_poll_ns)
{
    AioContext *ctx = test_context_new();
    Stress stress = {.ctx = ctx, .per_producer = stress_events() / PRODUCERS, .window = window};
    pthread_t threads[PRODUCERS];

    /* Each event of window 1 costs a hand-over between threads. */
    if (window == 1) {
        stress.per_producer /= 10;
    }
    set_max_poll(ctx, max_poll_ns);
    start_producers(threads, notify_producer, &stress);
    while (!notify_consume(&stress)) {
        aio_context_poll(ctx, true);
    }
    join_producers(threads);
    check_wakes(ctx, (uint64_t)PRODUCERS * stress.per_producer);
    aio_context_free(ctx);
}

static void test_notify_window_1(void)
{
    run_notify(1, 0);
}

static void test_notify_window_1_spin(void)
{
    run_notify(1, AIO_POLL_MAX_NS_DEFAULT);
}

static void test_notify_window_many(void)
{
    run_notify(1000, AIO_POLL_MAX_NS_DEFAULT);
}

/* --- B39: bottom halves from several threads --- */

typedef struct HalfStress {
    Stress stress;
    AioBh *bh;
    unsigned calls;
} HalfStress;

static void half_consume(void *opaque)
{
    HalfStress *half = opaque;
    half->calls++;
    notify_consume(&half->stress);
}

static void schedule_half(void *opaque)
{
    aio_bh_schedule(opaque);
}

static void *half_producer(void *opaque)
{
    HalfStress *half = opaque;
    return produce(&half->stress, schedule_half, half->bh);
}

/* One bottom half for all; scheduled while pending, while running and between. */
static void run_half(unsigned window)
{
    AioContext *ctx = test_context_new();
    HalfStress half = {.stress = {.ctx = ctx, .window = window}};
    pthread_t threads[PRODUCERS];

    half.stress.per_producer = stress_events() / PRODUCERS / (window == 1 ? 10 : 1);
    half.bh = aio_bh_new(ctx, half_consume, &half);
    start_producers(threads, half_producer, &half);
    while (half.stress.seen[0] < half.stress.per_producer ||
           half.stress.seen[1] < half.stress.per_producer) {
        aio_context_poll(ctx, true);
    }
    join_producers(threads);
    g_assert_cmpuint(half.calls, <=, PRODUCERS * half.stress.per_producer);
    check_wakes(ctx, 0);
    aio_bh_delete(half.bh);
    aio_context_free(ctx);
}

static void test_half_window_1(void)
{
    run_half(1);
}

static void test_half_window_many(void)
{
    run_half(1000);
}

typedef struct Item {
    struct OnceStress *stress;
    unsigned number;
} Item;

typedef struct OnceStress {
    AioContext *ctx;
    unsigned per_producer;
    _Atomic unsigned next;
    unsigned last[PRODUCERS];
    unsigned received;
    Item *items[PRODUCERS];
} OnceStress;

/* Each exactly once and, of one thread, in the order in which it was scheduled. */
static void once_received(void *opaque)
{
    Item *item = opaque;
    OnceStress *stress = item->stress;
    for (unsigned i = 0; i < PRODUCERS; i++) {
        if (item >= stress->items[i] && item < stress->items[i] + stress->per_producer) {
            g_assert_cmpuint(item->number, ==, stress->last[i] + 1);
            stress->last[i] = item->number;
        }
    }
    stress->received++;
}

static void *once_producer(void *opaque)
{
    OnceStress *stress = opaque;
    unsigned me = atomic_fetch_add(&stress->next, 1);
    uint32_t random = me + 1;

    for (unsigned i = 0; i < stress->per_producer; i++) {
        stress->items[me][i] = (Item){stress, i + 1};
        aio_bh_call_once(stress->ctx, once_received, &stress->items[me][i]);
        dither(&random);
    }
    return NULL;
}

static void test_once(void)
{
    AioContext *ctx = test_context_new();
    OnceStress stress = {.ctx = ctx, .per_producer = MIN(stress_events() / 4, 1000 * 1000)};
    pthread_t threads[PRODUCERS];

    for (unsigned i = 0; i < PRODUCERS; i++) {
        stress.items[i] = g_new0(Item, stress.per_producer);
    }
    start_producers(threads, once_producer, &stress);
    test_poll_until(ctx, stress.received == PRODUCERS * stress.per_producer);
    join_producers(threads);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        g_free(stress.items[i]);
    }
    aio_context_free(ctx);
}

/* --- B23: a producer that signals only while it is asked to --- */

typedef struct Queue {
    AioContext *ctx;
    int fd;
    unsigned total;
    unsigned window;
    _Atomic unsigned produced;
    _Atomic unsigned consumed;
    _Atomic bool wants_signal;
    uint64_t signals; /* producer */
    unsigned begins, ends;
} Queue;

static bool queue_check(void *opaque)
{
    Queue *queue = opaque;
    return atomic_load_explicit(&queue->produced, memory_order_acquire) !=
           atomic_load_explicit(&queue->consumed, memory_order_relaxed);
}

static void queue_drain(Queue *queue)
{
    unsigned produced = atomic_load_explicit(&queue->produced, memory_order_acquire);
    g_assert_cmpuint(produced, >=, queue->consumed);
    atomic_store_explicit(&queue->consumed, produced, memory_order_release);
}

static void queue_poll_ready(void *opaque)
{
    queue_drain(opaque);
}

static void queue_read(void *opaque)
{
    Queue *queue = opaque;
    uint64_t value;
    ssize_t ret = read(queue->fd, &value, sizeof(value));
    (void)ret; /* EAGAIN: an earlier callback of the turn took it */
    queue_drain(queue);
}

static void queue_poll_begin(void *opaque)
{
    Queue *queue = opaque;
    g_assert_cmpuint(queue->begins, ==, queue->ends);
    queue->begins++;
    queue->wants_signal = false;
}

static void queue_poll_end(void *opaque)
{
    Queue *queue = opaque;
    queue->ends++;
    g_assert_cmpuint(queue->begins, ==, queue->ends);
    queue->wants_signal = true; /* the loop looks once more after this */
}

static void *queue_producer(void *opaque)
{
    Queue *queue = opaque;
    uint32_t random = 1;
    for (unsigned i = 1; i <= queue->total; i++) {
        while (i - atomic_load_explicit(&queue->consumed, memory_order_acquire) > queue->window) {
            sched_yield();
        }
        queue->produced = i;
        if (queue->wants_signal) {
            uint64_t one = 1;
            g_assert_cmpint(write(queue->fd, &one, sizeof(one)), ==, sizeof(one));
            queue->signals++;
        }
        dither(&random);
    }
    return NULL;
}

static void run_queue(unsigned window, AioPollRule rule)
{
    static const AioFdOps ops = {
        .read = queue_read,
        .poll = queue_check,
        .poll_ready = queue_poll_ready,
        .poll_begin = queue_poll_begin,
        .poll_end = queue_poll_end,
    };
    AioContext *ctx = test_context_new();
    AioPollParams params;
    Queue queue = {.ctx = ctx,
                   .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                   .total = stress_events() / (window == 1 ? 10 : 1),
                   .window = window,
                   .wants_signal = true};
    AioStats stats;
    pthread_t thread;

    aio_poll_params_init(&params);
    params.rule = rule;
    aio_context_set_poll_params(ctx, &params);
    aio_set_fd_handler(ctx, queue.fd, &ops, &queue);
    g_assert_cmpint(pthread_create(&thread, NULL, queue_producer, &queue), ==, 0);
    test_poll_until(ctx, queue.consumed == queue.total);
    pthread_join(thread, NULL);
    stats_get(ctx, &stats);
    g_test_message("%u events, %" G_GUINT64_FORMAT
                   " signals, %u times in poll mode, %" G_GUINT64_FORMAT " sleeps",
                   queue.total, queue.signals, queue.begins, stats.blocking_waits);
    aio_set_fd_handler(ctx, queue.fd, NULL, NULL);
    close(queue.fd);
    aio_context_free(ctx);
}

static void test_queue_window_1(void)
{
    run_queue(1, AIO_POLL_CLASSIC);
}

static void test_queue_window_many(void)
{
    run_queue(1000, AIO_POLL_CLASSIC);
}

static void test_queue_weighted(void)
{
    run_queue(1, AIO_POLL_WEIGHTED);
}

/* --- who pays for a system call --- */

typedef struct Burst {
    AioContext *ctx;
    unsigned count;
    bool once_asleep;
    _Atomic bool go;
} Burst;

static void *burst_thread(void *opaque)
{
    Burst *burst = opaque;
    while (!burst->go) {
        sched_yield();
    }
    if (burst->once_asleep) {
        while (atomic_load(&burst->ctx->sleepers) == 0) {
            sched_yield();
        }
    }
    for (unsigned i = 0; i < burst->count; i++) {
        aio_context_notify(burst->ctx);
    }
    return NULL;
}

/* Notifications of a loop that runs its callbacks cost no system call. */
static void test_awake(void)
{
    AioContext *ctx = test_context_new();
    Burst burst = {.ctx = ctx, .count = 1000, .go = true};
    AioStats before, after;
    pthread_t thread;

    while (aio_context_poll(ctx, false)) {
    }
    stats_get(ctx, &before);
    g_assert_cmpint(pthread_create(&thread, NULL, burst_thread, &burst), ==, 0);
    pthread_join(thread, NULL); /* the home thread is awake: it is here */
    stats_get(ctx, &after);
    g_assert_cmpuint(after.wakes_sent - before.wakes_sent, ==, 0);
    g_assert_cmpuint(after.wakes_saved - before.wakes_saved, ==, burst.count);

    /* They make the next blocking turn return, once. */
    g_assert_false(aio_context_poll(ctx, true));
    stats_get(ctx, &after);
    g_assert_cmpuint(after.wakes_received - before.wakes_received, ==, 1);
    g_assert_false(atomic_load(&ctx->notified));
    aio_context_free(ctx);
}

/* Notifications of a loop that sleeps cost one, however many they are. */
static void test_asleep(void)
{
    AioContext *ctx = test_context_new();
    set_max_poll(ctx, 0);
    while (aio_context_poll(ctx, false)) {
    }
    unsigned slept = 0;
    for (unsigned round = 0; round < 100; round++) {
        Burst burst = {.ctx = ctx, .count = 1, .once_asleep = true, .go = true};
        AioStats before, after;
        pthread_t thread;

        stats_get(ctx, &before);
        g_assert_cmpint(pthread_create(&thread, NULL, burst_thread, &burst), ==, 0);
        while (stats_get(ctx, &after), after.wakes_received == before.wakes_received) {
            g_assert_false(aio_context_poll(ctx, true));
        }
        pthread_join(thread, NULL);
        stats_get(ctx, &after);
        uint64_t sent = after.wakes_sent - before.wakes_sent;
        g_assert_cmpuint(sent + after.wakes_saved - before.wakes_saved, ==, 1);
        /* It may come between announcement and sleep, and then stop until both are over. */
        if (after.turns - before.turns == 1 && after.blocking_waits > before.blocking_waits) {
            g_assert_cmpuint(sent, ==, 1);
            slept++;
        }
    }
    g_assert_cmpuint(slept, >, 0);
    aio_context_free(ctx);
}

static bool never(void *opaque)
{
    Burst *burst = opaque;
    burst->go = true; /* the loop spins now */
    return false;
}

static void nothing(void *opaque)
{
}

/* A loop that spins sees the flag; no descriptor is written. */
static void test_spinning(void)
{
    static const AioFdOps ops = {.read = nothing, .poll = never, .poll_ready = nothing};
    AioContext *ctx = test_context_new();
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    Burst burst = {.ctx = ctx, .count = 100};
    AioStats before, after;
    pthread_t thread;
    uint64_t one = 1, value;

    set_max_poll(ctx, 1000 * 1000);
    aio_set_fd_handler(ctx, fd, &ops, &burst);
    /* An event enrols the handler for polling. */
    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
    g_assert_true(aio_context_poll(ctx, true));
    g_assert_cmpint(read(fd, &value, sizeof(value)), ==, sizeof(value));
    while (aio_context_poll(ctx, false)) {
    }
    burst.go = false;

    stats_get(ctx, &before);
    g_assert_cmpint(pthread_create(&thread, NULL, burst_thread, &burst), ==, 0);
    ctx->poll_ns = INT64_C(100) * 1000 * 1000 * 1000; /* as long as it takes */
    g_assert_false(aio_context_poll(ctx, true));
    pthread_join(thread, NULL);
    stats_get(ctx, &after);
    g_assert_cmpuint(after.wakes_sent - before.wakes_sent, ==, 0);
    g_assert_cmpuint(after.wakes_saved - before.wakes_saved, ==, burst.count);
    g_assert_cmpuint(after.blocking_waits - before.blocking_waits, ==, 0);
    g_assert_cmpuint(after.poll_hits - before.poll_hits, ==, 1);
    aio_set_fd_handler(ctx, fd, NULL, NULL);
    close(fd);
    aio_context_free(ctx);
}

static void late(AioTimer *timer)
{
    timer->fn = NULL; /* fired */
}

/*
 * The kernel may leave the task-run flag set although there is nothing to run
 * (it raises the flag after the work was queued, and run). The flag is in
 * shared memory, so a test can do the same. The loop must go to sleep.
 */
static void test_stale_taskrun(void)
{
    AioContext *ctx = test_context_new();
    if (!aio_context_ring(ctx) ||
        !(aio_ring_setup_flags(aio_context_ring(ctx)) & IORING_SETUP_TASKRUN_FLAG)) {
        aio_context_free(ctx);
        g_test_skip("no task-run flag here");
        return;
    }
    AioStats before, after;
    AioTimer timer;
    unsigned *kflags = aio_ring_get_uring(aio_context_ring(ctx))->sq.kflags;

    while (aio_context_poll(ctx, false)) {
    }
    for (unsigned round = 0; round < 3; round++) {
        __atomic_fetch_or(kflags, IORING_SQ_TASKRUN, __ATOMIC_RELAXED);
        stats_get(ctx, &before);
        aio_timer_init(&timer, ctx, late);
        aio_timer_arm_after(&timer, 30 * 1000 * 1000);
        ctx->poll_ns = AIO_POLL_MAX_NS_DEFAULT;
        test_poll_until(ctx, timer.fn == NULL);
        stats_get(ctx, &after);
        g_assert_cmpuint(after.turns - before.turns, <, 20);
        g_assert_cmpuint(after.enters - before.enters, <, 40);
    }
    aio_context_free(ctx);
}

/* --- a context that ends as soon as its last work has arrived --- */

typedef struct Parting {
    AioContext *to;
    AioContext *home;
    bool arrived;
} Parting;

static void parting_home(void *opaque)
{
    Parting *parting = opaque;
    parting->arrived = true;
}

static void parting_arrived(void *opaque)
{
    Parting *parting = opaque;
    aio_bh_call_once(parting->home, parting_home, parting);
}

static void *parting_thread(void *opaque)
{
    Parting *parting = opaque;
    aio_bh_call_once(parting->to, parting_arrived, parting);
    return NULL;
}

/* The thread that scheduled may still be inside the call; the context waits for it. */
static void test_scheduler_outlives(void)
{
    AioContext *ctx = test_context_new();
    AioContextParams params;
    test_context_params(&params);

    for (unsigned round = 0; round < 100; round++) {
        GError *error = NULL;
        AioIoThread *iothread = aio_iothread_new(&params, -1, &error);
        g_assert_no_error(error);
        Parting parting = {.to = aio_iothread_context(iothread), .home = ctx};
        pthread_t thread;

        g_assert_cmpint(pthread_create(&thread, NULL, parting_thread, &parting), ==, 0);
        test_poll_until(ctx, parting.arrived);
        aio_iothread_free(iothread);
        pthread_join(thread, NULL);
    }
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);

    g_test_add_func("/notify/B31-awake-no-system-call", test_awake);
    g_test_add_func("/notify/B31-asleep-one-system-call", test_asleep);
    g_test_add_func("/notify/B34-spinning-no-system-call", test_spinning);
    g_test_add_func("/notify/B18-stale-task-run-flag", test_stale_taskrun);
    g_test_add_func("/notify/B32-stress-window-1", test_notify_window_1);
    g_test_add_func("/notify/B32-stress-window-1-spin", test_notify_window_1_spin);
    g_test_add_func("/notify/B32-stress-window-many", test_notify_window_many);
    g_test_add_func("/notify/B39-stress-window-1", test_half_window_1);
    g_test_add_func("/notify/B39-stress-window-many", test_half_window_many);
    g_test_add_func("/notify/B39-stress-once", test_once);
    g_test_add_func("/notify/B39-scheduler-outlives-context", test_scheduler_outlives);
    g_test_add_func("/notify/B23-stress-window-1", test_queue_window_1);
    g_test_add_func("/notify/B23-stress-window-many", test_queue_window_many);
    g_test_add_func("/notify/B23-stress-weighted", test_queue_weighted);
    return g_test_run();
}
