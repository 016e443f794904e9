/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Helper threads (aio/pool.c) and their way back to a context (aio/inbox.c). */
#include "aio/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "aio/iothread.h"
#include "util.h"

#define MS INT64_C(1000000)

typedef struct Job {
    AioPoolWork work;
    unsigned number;
    unsigned *order; /* where done() or run() leaves its number */
    _Atomic unsigned *next;
    pthread_t ran_on;
    bool done;
} Job;

/* A gate that run() waits at. */
typedef struct Gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiting;
    bool open;
} Gate;

typedef struct GateJob {
    AioPoolWork work;
    Gate *gate;
    _Atomic bool finished;
    bool done;
} GateJob;

static void gate_init(Gate *gate)
{
    *gate = (Gate){.waiting = 0};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

static void gate_fini(Gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->changed);
}

static void gate_run(AioPoolWork *work)
{
    GateJob *job = aio_container_of(work, GateJob, work);
    Gate *gate = job->gate;
    pthread_mutex_lock(&gate->lock);
    gate->waiting++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    gate->waiting--;
    pthread_mutex_unlock(&gate->lock);
    job->finished = true;
}

static void gate_done(AioPoolWork *work)
{
    aio_container_of(work, GateJob, work)->done = true;
}

static void gate_wait_for(Gate *gate, unsigned waiting)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->waiting < waiting) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

static void gate_open(Gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void job_run(AioPoolWork *work)
{
    Job *job = aio_container_of(work, Job, work);
    job->ran_on = pthread_self();
    if (!work->done) {
        job->order[atomic_fetch_add(job->next, 1)] = job->number;
    }
}

static void job_done(AioPoolWork *work)
{
    Job *job = aio_container_of(work, Job, work);
    g_assert_true(aio_context_is_home(work->ctx));
    job->order[atomic_fetch_add(job->next, 1)] = job->number;
    job->done = true;
}

/* run() alone; aio_pool_free() waits for all of it; one thread keeps the order. */
static void test_run_only(void)
{
    AioPool *pool = aio_pool_new("run-only", 1);
    unsigned order[500];
    _Atomic unsigned next = 0;
    Job *jobs = g_new0(Job, G_N_ELEMENTS(order));

    AioPoolStats stats;
    aio_pool_get_stats(pool, &stats);
    g_assert_cmpuint(stats.threads, ==, 0);

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        jobs[i] = (Job){.work = {.run = job_run}, .number = i, .order = order, .next = &next};
        aio_pool_submit(pool, &jobs[i].work);
    }
    aio_pool_get_stats(pool, &stats);
    g_assert_cmpuint(stats.submitted, ==, G_N_ELEMENTS(order));
    g_assert_cmpuint(stats.threads, ==, 1);
    aio_pool_free(pool);

    g_assert_cmpuint(next, ==, G_N_ELEMENTS(order));
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        g_assert_cmpuint(order[i], ==, i);
        g_assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
    }
    g_free(jobs);
}

static void test_done_at_home(void)
{
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("done", 1);
    unsigned order[300];
    _Atomic unsigned next = 0;
    Job *jobs = g_new0(Job, G_N_ELEMENTS(order));

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        jobs[i] = (Job){.work = {.run = job_run, .done = job_done, .ctx = ctx},
                        .number = i,
                        .order = order,
                        .next = &next};
        aio_pool_submit(pool, &jobs[i].work);
        g_assert_false(jobs[i].done);
    }
    test_poll_until(ctx, next == G_N_ELEMENTS(order));
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        g_assert_cmpuint(order[i], ==, i);
    }
    aio_pool_free(pool);
    aio_context_free(ctx);
    g_free(jobs);
}

/* Everything that is posted while the home thread is busy costs one bottom half. */
static void test_completions_coalesce(void)
{
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("coalesce", 2);
    unsigned order[100];
    _Atomic unsigned next = 0;
    Job *jobs = g_new0(Job, G_N_ELEMENTS(order));
    AioStats before, after;

    while (aio_context_poll(ctx, false)) {
    }
    aio_context_get_stats(ctx, &before);
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        jobs[i] = (Job){.work = {.run = job_run, .done = job_done, .ctx = ctx},
                        .number = i,
                        .order = order,
                        .next = &next};
        aio_pool_submit(pool, &jobs[i].work);
    }
    aio_pool_free(pool); /* all run and posted */
    test_poll_until(ctx, next == G_N_ELEMENTS(order));
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.bottom_halves - before.bottom_halves, ==, 1);
    g_assert_cmpuint(after.wakes_sent - before.wakes_sent, ==, 0);
    aio_context_free(ctx);
    g_free(jobs);
}

static void test_thread_bound(void)
{
    AioPool *pool = aio_pool_new("bound", 3);
    Gate gate;
    GateJob jobs[10];
    AioPoolStats stats;

    gate_init(&gate);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
        jobs[i] = (GateJob){.work = {.run = gate_run}, .gate = &gate};
        aio_pool_submit(pool, &jobs[i].work);
    }
    gate_wait_for(&gate, 3);
    aio_pool_get_stats(pool, &stats);
    g_assert_cmpuint(stats.threads, ==, 3);
    g_assert_cmpuint(stats.idle_threads, ==, 0);
    g_assert_cmpuint(stats.queued, ==, 7);
    gate_open(&gate);
    aio_pool_free(pool);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
        g_assert_true(jobs[i].finished);
    }
    gate_fini(&gate);
}

/* An idle thread takes the next work; idle ones end and new ones start. */
static void test_threads_come_and_go(void)
{
    AioPool *pool = aio_pool_new("idle", 4);
    AioPoolStats stats;

    aio_pool_set_idle_time(pool, 50 * MS);
    for (int round = 0; round < 3; round++) {
        Gate gate;
        GateJob jobs[4];
        gate_init(&gate);
        for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
            jobs[i] = (GateJob){.work = {.run = gate_run}, .gate = &gate};
            aio_pool_submit(pool, &jobs[i].work);
        }
        gate_wait_for(&gate, 4);
        gate_open(&gate);
        do {
            g_usleep(5000);
            aio_pool_get_stats(pool, &stats);
        } while (stats.threads > 0);
        gate_fini(&gate);
    }
    aio_pool_free(pool);
}

static void test_idle_thread_is_reused(void)
{
    AioPool *pool = aio_pool_new("reuse", 8);
    unsigned order[20];
    _Atomic unsigned next = 0;
    Job job;
    AioPoolStats stats;

    aio_pool_set_idle_time(pool, 3600 * 1000 * MS); /* it does not end while nobody looks */
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        job = (Job){.work = {.run = job_run}, .number = i, .order = order, .next = &next};
        aio_pool_submit(pool, &job.work);
        /* The thread counts as idle until it takes the work, and again when it is through. */
        while (next <= i) {
            sched_yield();
        }
        do {
            sched_yield();
            aio_pool_get_stats(pool, &stats);
        } while (stats.idle_threads < 1);
        g_assert_cmpuint(stats.threads, ==, 1);
    }
    aio_pool_free(pool);
    g_assert_cmpuint(next, ==, G_N_ELEMENTS(order));
}

typedef struct Look {
    AioPoolWork work;
    char name[16];
    sigset_t blocked;
    cpu_set_t cpus;
    int policy;
    int own_policy; /* of who submits */
} Look;

static void look_run(AioPoolWork *work)
{
    Look *look = aio_container_of(work, Look, work);
    pthread_getname_np(pthread_self(), look->name, sizeof(look->name));
    pthread_sigmask(SIG_SETMASK, NULL, &look->blocked);
    sched_getaffinity(0, sizeof(look->cpus), &look->cpus);
    look->policy = sched_getscheduler(0);
}

/* A thread that is pinned to one CPU, with another policy, uses the pool for the first time. */
static void *pinned_thread(void *opaque)
{
    Look *look = opaque;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    g_assert_cmpint(sched_setaffinity(0, sizeof(one), &one), ==, 0);
    const struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER) {
        g_assert_cmpint(sched_setscheduler(0, look->own_policy, &none), ==, 0);
    }

    AioPool *pool = aio_pool_new("a-name-longer-than-15", 1);
    aio_pool_submit(pool, &look->work);
    aio_pool_free(pool);
    return NULL;
}

static void test_thread_environment(gconstpointer own_policy)
{
    Look look = {.work = {.run = look_run}, .own_policy = GPOINTER_TO_INT(own_policy)};
    pthread_t thread;
    cpu_set_t all;
    sigset_t before, after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    g_assert_cmpint(sched_getaffinity(0, sizeof(all), &all), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, pinned_thread, &look), ==, 0);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);

    g_assert_cmpstr(look.name, ==, "a-name-longer-t");
    g_assert_true(CPU_EQUAL(&look.cpus, &all));
    g_assert_cmpint(look.policy, ==, sched_getscheduler(0));
    const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE, SIGCHLD};
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_assert_true(sigismember(&look.blocked, signals[i]));
        g_assert_cmpint(sigismember(&before, signals[i]), ==, sigismember(&after, signals[i]));
    }
}

static void test_try_cancel(void)
{
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("cancel", 1);
    Gate gate;
    GateJob jobs[5];

    gate_init(&gate);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
        jobs[i] =
            (GateJob){.work = {.run = gate_run, .done = gate_done, .ctx = ctx}, .gate = &gate};
        aio_pool_submit(pool, &jobs[i].work);
    }
    gate_wait_for(&gate, 1);
    g_assert_false(aio_pool_try_cancel(pool, &jobs[0].work)); /* runs */
    g_assert_true(aio_pool_try_cancel(pool, &jobs[2].work));  /* middle */
    g_assert_true(aio_pool_try_cancel(pool, &jobs[4].work));  /* last */
    g_assert_false(aio_pool_try_cancel(pool, &jobs[4].work)); /* gone */
    aio_pool_submit(pool, &jobs[2].work);                     /* ours again; now last */
    gate_open(&gate);
    test_poll_until(ctx, jobs[0].done && jobs[1].done && jobs[2].done && jobs[3].done);
    g_assert_false(aio_pool_try_cancel(pool, &jobs[0].work)); /* done */
    aio_pool_free(pool);
    aio_context_free(ctx); /* does not wait for the cancelled one */
    g_assert_false(jobs[4].done);
    gate_fini(&gate);
}

typedef struct Nest {
    AioPoolWork work;
    struct Nest *wait_for;
    bool done;
} Nest;

static void nest_run(AioPoolWork *work)
{
}

static void nest_done(AioPoolWork *work)
{
    Nest *nest = aio_container_of(work, Nest, work);
    if (nest->wait_for) {
        test_poll_until(work->ctx, nest->wait_for->done);
    }
    nest->done = true;
}

/* done() of the first waits, by turning the loop, for done() of the last. */
static void test_nested_wait(void)
{
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("nested", 1);
    Nest jobs[4];

    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (Nest){.work = {.run = nest_run, .done = nest_done, .ctx = ctx},
                         .wait_for = i < 3 ? &jobs[i + 1] : NULL};
        aio_pool_submit(pool, &jobs[i].work);
    }
    aio_pool_free(pool); /* all are posted together */
    test_poll_until(ctx, jobs[0].done);
    aio_context_free(ctx);
}

/* The context is freed while its work runs: done() still comes, at home. */
static void test_context_free_waits(void)
{
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("drain", 2);
    unsigned order[50];
    _Atomic unsigned next = 0;
    Job *jobs = g_new0(Job, G_N_ELEMENTS(order));

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        jobs[i] = (Job){
            .work = {.run = job_run, .done = job_done, .ctx = ctx}, .order = order, .next = &next};
        aio_pool_submit(pool, &jobs[i].work);
    }
    aio_context_free(ctx);
    g_assert_cmpuint(next, ==, G_N_ELEMENTS(order));
    aio_pool_free(pool);
    g_free(jobs);
}

/* The poster may still be inside the wake-up when its work is delivered. */
static void test_context_freed_at_once(void)
{
    AioPool *pool = aio_pool_new("race", 2);
    for (int i = 0; i < 300; i++) {
        AioContext *ctx = test_context_new();
        Nest job = {.work = {.run = nest_run, .done = nest_done, .ctx = ctx}};
        aio_pool_submit(pool, &job.work);
        test_poll_until(ctx, job.done);
        aio_context_free(ctx);
    }
    aio_pool_free(pool);
}

typedef struct Stress {
    AioPoolWork work;
    AioPool *pool;
    unsigned left;
    uint64_t ran; /* written by helpers, read at home */
    uint64_t seen;
    _Atomic unsigned *finished;
} Stress;

static void stress_run(AioPoolWork *work)
{
    aio_container_of(work, Stress, work)->ran++;
}

static void stress_done(AioPoolWork *work)
{
    Stress *stress = aio_container_of(work, Stress, work);
    g_assert_cmpuint(stress->ran, ==, ++stress->seen);
    if (--stress->left > 0) {
        aio_pool_submit(stress->pool, work);
    } else {
        atomic_fetch_add(stress->finished, 1);
    }
}

/* Several contexts, one pool, submissions also from a thread that is not home. */
static void test_many_contexts(void)
{
    enum { CONTEXTS = 3, LANES = 8, ROUNDS = 300 };
    AioPool *pool = aio_pool_new("many", 3);
    AioIoThread *threads[CONTEXTS];
    Stress *lanes = g_new0(Stress, CONTEXTS * LANES);
    _Atomic unsigned finished = 0;

    for (unsigned i = 0; i < CONTEXTS; i++) {
        AioContextParams params;
        test_context_params(&params);
        GError *error = NULL;
        threads[i] = aio_iothread_new(&params, -1, &error);
        g_assert_no_error(error);
        for (unsigned lane = 0; lane < LANES; lane++) {
            Stress *stress = &lanes[i * LANES + lane];
            *stress = (Stress){.work = {.run = stress_run,
                                        .done = stress_done,
                                        .ctx = aio_iothread_context(threads[i])},
                               .pool = pool,
                               .left = ROUNDS,
                               .finished = &finished};
            aio_pool_submit(pool, &stress->work);
        }
    }
    while (finished < CONTEXTS * LANES) {
        g_usleep(1000);
    }
    for (unsigned i = 0; i < CONTEXTS; i++) {
        aio_iothread_free(threads[i]);
    }
    AioPoolStats stats;
    aio_pool_get_stats(pool, &stats);
    g_assert_cmpuint(stats.submitted, ==, CONTEXTS * LANES * ROUNDS);
    g_assert_cmpuint(stats.threads, <=, 3);
    aio_pool_free(pool);
    g_free(lanes);
}

static void test_shared(void)
{
    AioPool *pool = aio_pool_shared();
    g_assert_true(pool == aio_pool_shared());
    Nest job = {.work = {.run = nest_run}};
    aio_pool_submit(pool, &job.work);
    aio_pool_shared_fini();
    aio_pool_shared_fini(); /* harmless */
    g_assert_nonnull(aio_pool_shared());
    aio_pool_shared_fini();
}

/* Without room for a stack there is no thread; the work is done all the same. */
static void test_no_thread(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
    g_test_skip("an address space limit does not work with sanitizers");
#else
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        g_test_trap_assert_stderr("*cannot start a thread*its work runs on the caller*");
        return;
    }
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    AioContext *ctx = test_context_new();
    AioPool *pool = aio_pool_new("none", 2);
    unsigned order[1];
    _Atomic unsigned next = 0;
    Job job = {
        .work = {.run = job_run, .done = job_done, .ctx = ctx}, .order = order, .next = &next};

    struct rlimit limit = {.rlim_cur = 1, .rlim_max = RLIM_INFINITY};
    g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);
    aio_pool_submit(pool, &job.work);
    limit.rlim_cur = RLIM_INFINITY;
    g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);

    g_assert_true(pthread_equal(job.ran_on, pthread_self()));
    g_assert_false(job.done);
    test_poll_until(ctx, job.done);
    aio_pool_free(pool);
    aio_context_free(ctx);
#endif
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/pool/run-only", test_run_only);
    g_test_add_func("/pool/done-at-home", test_done_at_home);
    g_test_add_func("/pool/completions-coalesce", test_completions_coalesce);
    g_test_add_func("/pool/thread-bound", test_thread_bound);
    g_test_add_func("/pool/threads-come-and-go", test_threads_come_and_go);
    g_test_add_func("/pool/idle-thread-is-reused", test_idle_thread_is_reused);
    g_test_add_data_func("/pool/thread-environment/batch", GINT_TO_POINTER(SCHED_BATCH),
                         test_thread_environment);
    g_test_add_data_func("/pool/thread-environment/idle", GINT_TO_POINTER(SCHED_IDLE),
                         test_thread_environment);
    g_test_add_func("/pool/try-cancel", test_try_cancel);
    g_test_add_func("/pool/nested-wait", test_nested_wait);
    g_test_add_func("/pool/C14-context-free-waits", test_context_free_waits);
    g_test_add_func("/pool/context-freed-at-once", test_context_freed_at_once);
    g_test_add_func("/pool/many-contexts", test_many_contexts);
    g_test_add_func("/pool/shared", test_shared);
    g_test_add_func("/pool/no-thread", test_no_thread);
    return g_test_run();
}
