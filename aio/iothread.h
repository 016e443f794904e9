/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A thread that turns its own AioContext until it is stopped. */
#ifndef SLUICE_AIO_IOTHREAD_H
#define SLUICE_AIO_IOTHREAD_H

#include "aio/context.h"

typedef struct AioIoThread AioIoThread;

/**
 * Start a thread and its context; returns once the context exists or could
 * not be made (@error). All signals are blocked in the thread.
 *
 * @cpu: pin the thread to this CPU; negative: inherit the caller's CPU set
 */
AioIoThread *aio_iothread_new(const AioContextParams *params, int cpu,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The context, valid until aio_iothread_free(). Any thread. */
AioContext *aio_iothread_context(AioIoThread *thread);

/**
 * Call @fn(@opaque) on the thread and wait for its return. Not from the
 * thread itself and not while holding what @fn may want.
 */
void aio_iothread_call(AioIoThread *thread, void (*fn)(void *opaque), void *opaque);

/** Stop turning, drain the context, join. Safe to call once in any phase. */
void aio_iothread_free(AioIoThread *thread);

#endif /* SLUICE_AIO_IOTHREAD_H */
