/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * AioContext: an event loop bound to one thread.
 *
 * The thread that creates a context is its home thread. Only the home thread
 * may turn the loop, touch the ring or free the context; every function below
 * says "any thread" where that is not so. Hand work to a context from another
 * thread with a bottom half (bh.h).
 */
#ifndef SLUICE_AIO_CONTEXT_H
#define SLUICE_AIO_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "aio/poll.h"
#include "aio/ring.h"
#include "aio/stats.h"

typedef struct AioContext AioContext;

/** Which kernel interface tells the context that a file descriptor is ready. */
typedef enum AioMonitorKind {
    AIO_MONITOR_AUTO, /**< io_uring, else epoll, else poll */
    AIO_MONITOR_URING,
    AIO_MONITOR_EPOLL,
    AIO_MONITOR_POLL,
} AioMonitorKind;

typedef struct AioContextParams {
    const char *name;       /**< shown in log lines; copied */
    AioMonitorKind monitor; /**< AIO_MONITOR_AUTO falls back, the others fail */
    AioRingParams ring;     /**< the context's own ring (io_uring monitor only) */
    AioPollParams poll;     /**< adaptive busy polling */
    unsigned max_batch;     /**< SQEs queued before a submit is forced; 0: default */
} AioContextParams;

/** Fill *params with the defaults: automatic monitor, classic polling. */
void aio_context_params_init(AioContextParams *params);

/**
 * Create a context whose home is the calling thread.
 *
 * A thread has at most one context. Errors name the kernel's true cause
 * (for example EPERM when io_uring is disabled by sysctl or seccomp); with
 * AIO_MONITOR_AUTO a missing io_uring is not an error, see
 * aio_context_fallback_reason().
 */
AioContext *aio_context_new(const AioContextParams *params,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Drain and free a context. Home thread.
 *
 * Waits for every submitted SQE, runs the callbacks, then releases the ring.
 * Bottom halves still pending are freed without being called.
 */
void aio_context_free(AioContext *ctx);

/** The calling thread's context, or NULL. */
AioContext *aio_context_current(void);

/** Whether the calling thread is the home thread of @ctx. */
bool aio_context_is_home(const AioContext *ctx);

/** The name given at creation. Any thread. */
const char *aio_context_name(const AioContext *ctx);

/** The monitor in use, never AIO_MONITOR_AUTO. Any thread. */
AioMonitorKind aio_context_monitor(const AioContext *ctx);

/** "io_uring", "epoll" or "poll". */
const char *aio_monitor_kind_name(AioMonitorKind kind);

/** Why the io_uring monitor is not in use although wanted, or NULL. */
const char *aio_context_fallback_reason(const AioContext *ctx);

/**
 * The context's own ring, or NULL where the monitor is not io_uring.
 * Home thread.
 */
AioRing *aio_context_ring(AioContext *ctx);

/**
 * One turn of the loop. Home thread; nested calls from callbacks are legal.
 *
 * Order: timeout from timers and bottom halves, spin, wait, accept wake-ups,
 * adapt the poll time, completions, bottom halves, ready descriptors, free
 * deleted handlers, timers.
 *
 * @blocking: wait until something happens
 * Returns whether a callback made progress. Idle bottom halves and the
 * context's own wake-up are not progress.
 */
bool aio_context_poll(AioContext *ctx, bool blocking);

/**
 * Make the current or next blocking turn look for work. Any thread.
 *
 * Work published before this call is seen by the turn. Costs a system call
 * only if the home thread sleeps or is about to.
 */
void aio_context_notify(AioContext *ctx);

/** Change the polling parameters; takes effect at once. Any thread. */
void aio_context_set_poll_params(AioContext *ctx, const AioPollParams *params);

/** The polling parameters in force. Any thread. */
void aio_context_get_poll_params(AioContext *ctx, AioPollParams *params);

/** What is worth a spin from now on; that of the parameters at first. Home thread. */
void aio_context_set_poll_scope(AioContext *ctx, AioPollScope scope);

/** SQEs queued before a submit is forced; 0 restores the default. Any thread. */
void aio_context_set_max_batch(AioContext *ctx, unsigned max_batch);
unsigned aio_context_get_max_batch(const AioContext *ctx);

/** A consistent-enough copy of the counters (each is exact). Any thread. */
void aio_context_get_stats(AioContext *ctx, AioStats *stats);

/** CLOCK_MONOTONIC in nanoseconds. Any thread. */
int64_t aio_clock_ns(void);

/**
 * The time, to take note of when something happened. Home thread.
 *
 * One reading of the clock serves AIO_SHARED_READINGS marks, as long as the loop does not turn and
 * nothing is submitted meanwhile. It is never ahead of the clock, and behind it by what the thread
 * has done since it was taken. After work that may have been long use aio_context_read_clock().
 */
int64_t aio_context_now(AioContext *ctx);
#define AIO_SHARED_READINGS 4

/** The time now, read anew; aio_context_now() goes on from it. Home thread. */
int64_t aio_context_read_clock(AioContext *ctx);

/** The next aio_context_now() reads anew: what was done may have been long. Home thread. */
void aio_context_time_passed(AioContext *ctx);

#endif /* SLUICE_AIO_CONTEXT_H */
