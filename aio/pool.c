/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounded pool of helper threads.
 *
 * How it works: one lock guards a FIFO of work and the thread counts. A
 * submission starts a thread if more work is queued than threads are idle and
 * the bound allows it; otherwise it signals an idle thread, or leaves the
 * work to whichever thread finishes first. A thread that waited
 * AIO_POOL_IDLE_NS in vain ends.
 *
 * Every thread is joined exactly once: one that ends leaves its id in
 * `ended`, after it has joined the one that was there. So at most one ended
 * thread awaits its join, and the pool's memory is freed only after the last
 * thread is gone for good.
 *
 * What run() wrote is visible to done(): the way back to the context (inbox.h)
 * is a release/acquire pair. POSIX locks are used rather than GLib's, because
 * ThreadSanitizer understands them.
 */
#include "aio/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/inbox.h"

struct AioPool {
    char name[16];
    unsigned max_threads;
    int64_t idle_ns;
    pthread_attr_t thread_attr;

    pthread_mutex_t lock;
    pthread_cond_t work_queued; /* or `stopping` set; waits use CLOCK_MONOTONIC */
    pthread_cond_t thread_ended;

    /* locked */
    AioPoolWork *first;
    AioPoolWork **tail;
    unsigned queued;
    unsigned threads;
    unsigned idle;
    bool stopping;
    bool has_ended;
    pthread_t ended;
    uint64_t submitted;
};

static void work_run(AioPoolWork *work)
{
    if (!work->done) {
        work->run(work); /* may free it */
        return;
    }
    AioInbox *inbox = aio_context_inbox(work->ctx);
    work->run(work);
    aio_inbox_post(inbox, work);
}

static AioPoolWork *queue_pop_locked(AioPool *pool)
{
    AioPoolWork *work = pool->first;
    pool->first = work->next;
    if (!pool->first) {
        pool->tail = &pool->first;
    }
    pool->queued--;
    work->next = NULL;
    return work;
}

/* True: there is work. False: the thread shall end. */
static bool wait_for_work_locked(AioPool *pool)
{
    if (pool->first) {
        return true;
    }
    int64_t deadline_ns = aio_clock_ns() + pool->idle_ns;
    struct timespec deadline = {.tv_sec = deadline_ns / 1000000000,
                                .tv_nsec = deadline_ns % 1000000000};

    pool->idle++;
    int ret = 0;
    while (!pool->first && !pool->stopping && ret == 0) {
        ret = pthread_cond_timedwait(&pool->work_queued, &pool->lock, &deadline);
    }
    pool->idle--;
    return pool->first != NULL;
}

static void run_until_idle_locked(AioPool *pool)
{
    while (wait_for_work_locked(pool)) {
        AioPoolWork *work = queue_pop_locked(pool);
        pthread_mutex_unlock(&pool->lock);
        work_run(work);
        pthread_mutex_lock(&pool->lock);
    }
}

static void join_predecessor_locked(AioPool *pool)
{
    while (pool->has_ended) {
        pthread_t predecessor = pool->ended;
        pool->has_ended = false;
        pthread_mutex_unlock(&pool->lock);
        pthread_join(predecessor, NULL);
        pthread_mutex_lock(&pool->lock);
    }
}

static void *thread_main(void *opaque)
{
    AioPool *pool = opaque;

    pthread_setname_np(pthread_self(), pool->name);
    pthread_mutex_lock(&pool->lock);
    do {
        run_until_idle_locked(pool);
        join_predecessor_locked(pool);
        /* Work may have come while the lock was free; this thread still counts as alive. */
    } while (pool->first);

    pool->ended = pthread_self();
    pool->has_ended = true;
    pool->threads--;
    pthread_cond_signal(&pool->thread_ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Start a thread with all signals blocked. 0 or a positive errno. */
static int thread_start_locked(AioPool *pool)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ret = pthread_create(&thread, &pool->thread_attr, thread_main, pool);
    cpu_set_t cpus;
    if (ret == EINVAL && sched_getaffinity(0, sizeof(cpus), &cpus) == 0) {
        /* The main thread's CPUs are not ours any more: take the caller's. */
        pthread_attr_setaffinity_np(&pool->thread_attr, sizeof(cpus), &cpus);
        ret = pthread_create(&thread, &pool->thread_attr, thread_main, pool);
    }
    if (ret == EPERM) { /* nor may it have the main thread's policy */
        ret = pthread_create(&thread, NULL, thread_main, pool);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0) {
        pool->threads++;
    }
    return ret;
}

AioPool *aio_pool_new(const char *name, unsigned max_threads)
{
    assert(max_threads >= 1);
    AioPool *pool = g_new0(AioPool, 1);
    g_strlcpy(pool->name, name, sizeof(pool->name));
    pool->max_threads = max_threads;
    pool->idle_ns = AIO_POOL_IDLE_NS;
    pool->tail = &pool->first;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->thread_ended, NULL);
    pthread_condattr_t cond_attr;
    pthread_condattr_init(&cond_attr);
    pthread_condattr_setclock(&cond_attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work_queued, &cond_attr);
    pthread_condattr_destroy(&cond_attr);

    pthread_attr_init(&pool->thread_attr);
    if (sched_getscheduler(getpid()) == SCHED_OTHER) {
        /* Who submits may have another for reasons of its own: helpers are as the process is. */
        pthread_attr_setinheritsched(&pool->thread_attr, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&pool->thread_attr, SCHED_OTHER);
    }
    cpu_set_t cpus;
    if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0) {
        pthread_attr_setaffinity_np(&pool->thread_attr, sizeof(cpus), &cpus);
    }
    return pool;
}

void aio_pool_set_idle_time(AioPool *pool, int64_t idle_ns)
{
    pool->idle_ns = idle_ns;
}

void aio_pool_free(AioPool *pool)
{
    if (!pool) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work_queued);
    while (pool->threads > 0) {
        pthread_cond_wait(&pool->thread_ended, &pool->lock);
    }
    assert(!pool->first);
    bool has_ended = pool->has_ended;
    pthread_mutex_unlock(&pool->lock);
    if (has_ended) {
        pthread_join(pool->ended, NULL);
    }

    pthread_attr_destroy(&pool->thread_attr);
    pthread_cond_destroy(&pool->work_queued);
    pthread_cond_destroy(&pool->thread_ended);
    pthread_mutex_destroy(&pool->lock);
    g_free(pool);
}

void aio_pool_submit(AioPool *pool, AioPoolWork *work)
{
    assert(work->run && (!work->done || work->ctx));
    if (work->done) {
        aio_inbox_expect(aio_context_inbox(work->ctx));
    }

    pthread_mutex_lock(&pool->lock);
    assert(!pool->stopping);
    pool->submitted++;
    work->next = NULL;
    *pool->tail = work;
    pool->tail = &work->next;
    pool->queued++;

    int error = 0;
    if (pool->queued > pool->idle && pool->threads < pool->max_threads) {
        error = thread_start_locked(pool);
    }
    if (pool->threads > 0) {
        pthread_cond_signal(&pool->work_queued);
        pthread_mutex_unlock(&pool->lock);
        return;
    }

    /* Without a single thread the queue held only this work. */
    work = queue_pop_locked(pool);
    pthread_mutex_unlock(&pool->lock);
    g_warning("cannot start a thread of the helper pool \"%s\": %s; its work runs on the caller",
              pool->name, g_strerror(error));
    work_run(work);
}

bool aio_pool_try_cancel(AioPool *pool, AioPoolWork *work)
{
    pthread_mutex_lock(&pool->lock);
    AioPoolWork **link = &pool->first;
    while (*link && *link != work) {
        link = &(*link)->next;
    }
    bool found = *link != NULL;
    if (found) {
        *link = work->next;
        if (!work->next) {
            pool->tail = link;
        }
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);

    if (found && work->done) {
        aio_inbox_forget(aio_context_inbox(work->ctx));
    }
    return found;
}

void aio_pool_get_stats(AioPool *pool, AioPoolStats *stats)
{
    pthread_mutex_lock(&pool->lock);
    stats->threads = pool->threads;
    stats->idle_threads = pool->idle;
    stats->queued = pool->queued;
    stats->submitted = pool->submitted;
    pthread_mutex_unlock(&pool->lock);
}

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static AioPool *shared_pool;

AioPool *aio_pool_shared(void)
{
    pthread_mutex_lock(&shared_lock);
    if (!shared_pool) {
        shared_pool = aio_pool_new("aio-helper", AIO_POOL_SHARED_THREADS);
    }
    AioPool *pool = shared_pool;
    pthread_mutex_unlock(&shared_lock);
    return pool;
}

void aio_pool_shared_fini(void)
{
    pthread_mutex_lock(&shared_lock);
    AioPool *pool = shared_pool;
    shared_pool = NULL;
    pthread_mutex_unlock(&shared_lock);
    aio_pool_free(pool);
}
