/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A bounded pool of helper threads for calls that may wait.
 *
 * Threads start on demand and end after some idle seconds. More work than
 * threads waits in order. Work that can wait for other work of the same pool
 * (locks) needs a pool of its own.
 */
#ifndef SLUICE_AIO_POOL_H
#define SLUICE_AIO_POOL_H

#include "aio/context.h"

typedef struct AioPool AioPool;
typedef struct AioPoolWork AioPoolWork;
typedef void AioPoolFn(AioPoolWork *work);

/** A helper thread without work for this long ends. */
#define AIO_POOL_IDLE_NS (INT64_C(5) * 1000 * 1000 * 1000)

/**
 * Embed it; belongs to the pool from submit until done() begins, or, without
 * done(), until run() begins.
 */
struct AioPoolWork {
    AioPoolFn *run;    /**< on a helper thread, all signals blocked */
    AioPoolFn *done;   /**< on the home thread of ctx; NULL: run() has the last word */
    AioContext *ctx;   /**< where done() runs; may be NULL if done is */
    AioPoolWork *next; /**< private */
};

/**
 * @name is copied (thread names, 15 characters of it show); @max_threads at
 * least 1. Threads get the CPU set of the process's main thread, not that of
 * the (possibly pinned) thread that submits. Any thread.
 */
AioPool *aio_pool_new(const char *name, unsigned max_threads);

/** Let idle threads end after @idle_ns instead of AIO_POOL_IDLE_NS. Before the first submit. */
void aio_pool_set_idle_time(AioPool *pool, int64_t idle_ns);

/**
 * Wait for all work to be run and all threads to end, then free. What was
 * handed back to a context may still await its done(). NULL is ignored.
 */
void aio_pool_free(AioPool *pool);

/**
 * Queue work. Any thread.
 *
 * Where the system refuses even the first thread, run() is called by the
 * caller, with a warning: late is better than never. done() is always called
 * by a later turn of ctx; aio_context_free() waits for it.
 */
void aio_pool_submit(AioPool *pool, AioPoolWork *work);

/**
 * Take work back that has not started. True: run() and done() will not be
 * called and @work is the caller's again. Any thread.
 */
bool aio_pool_try_cancel(AioPool *pool, AioPoolWork *work);

typedef struct AioPoolStats {
    unsigned threads, idle_threads, queued;
    uint64_t submitted;
} AioPoolStats;
void aio_pool_get_stats(AioPool *pool, AioPoolStats *stats);

/** Threads of the shared pool: the I/O depth where io_uring is not allowed. */
#define AIO_POOL_SHARED_THREADS 32

/**
 * The process-wide pool behind the I/O engine where io_uring is not allowed.
 * Created at first use, lives until aio_pool_shared_fini(). Any thread.
 */
AioPool *aio_pool_shared(void);

/**
 * Free the shared pool, if there is one, as aio_pool_free(). For the end of
 * main(), when no context is left; a later aio_pool_shared() makes a new one.
 * Not required: a process may exit with idle helper threads. Nothing frees
 * the pool behind the program's back, since at exit a helper may still be in
 * a call that does not return.
 */
void aio_pool_shared_fini(void);

#endif /* SLUICE_AIO_POOL_H */
