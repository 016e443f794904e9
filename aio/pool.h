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

/** Embed it; belongs to the pool from submit until done() begins. */
struct AioPoolWork {
    AioPoolFn *run;    /**< on a helper thread */
    AioPoolFn *done;   /**< on the home thread of ctx; NULL: run() has the last word */
    AioContext *ctx;   /**< where done() runs; may be NULL if done is */
    AioPoolWork *next; /**< private */
};

/** @name is copied (thread names); @max_threads at least 1. Any thread. */
AioPool *aio_pool_new(const char *name, unsigned max_threads);

/** Wait for all work to be done and all threads to end, then free. */
void aio_pool_free(AioPool *pool);

/** Queue work. Any thread. */
void aio_pool_submit(AioPool *pool, AioPoolWork *work);

/** Take work back that has not started. True: run() and done() will not be called. */
bool aio_pool_try_cancel(AioPool *pool, AioPoolWork *work);

typedef struct AioPoolStats {
    unsigned threads, idle_threads, queued;
    uint64_t submitted;
} AioPoolStats;
void aio_pool_get_stats(AioPool *pool, AioPoolStats *stats);

/**
 * The process-wide pool behind the I/O engine where io_uring is not allowed.
 * Created at first use, freed at exit.
 */
AioPool *aio_pool_shared(void);

#endif /* SLUICE_AIO_POOL_H */
