/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Stackful coroutines for code that must wait in the middle.
 *
 * Stacks are pooled per thread, with a guard page below. A coroutine runs on
 * the home thread of the context that entered it; AddressSanitizer and
 * ThreadSanitizer are told of every switch.
 */
#ifndef SLUICE_AIO_COROUTINE_H
#define SLUICE_AIO_COROUTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aio/context.h"
#include "aio/io.h"

typedef struct AioCoroutine AioCoroutine;
typedef void AioCoroutineFn(void *opaque);

/** Usable stack bytes of a coroutine. */
#define AIO_COROUTINE_STACK_SIZE (256 * 1024)

/** A coroutine that will run @fn(@opaque); it frees itself when @fn returns. */
AioCoroutine *aio_co_new(AioCoroutineFn *fn, void *opaque);

/** Run @co until it yields or ends. The caller's thread; nests. */
void aio_co_enter(AioCoroutine *co);

/** Leave the running coroutine until somebody enters it again. */
void aio_co_yield(void);

/** The running coroutine, or NULL outside of any. */
AioCoroutine *aio_co_self(void);
bool aio_co_running(void);

/** The context whose thread last entered @co. */
AioContext *aio_co_context(const AioCoroutine *co);

/**
 * Enter @co soon, on its context's home thread. Any thread. On the home
 * thread outside of any coroutine: at once. Inside another coroutine: when
 * that one yields or ends. From another thread: by a bottom half.
 */
void aio_co_wake(AioCoroutine *co);

/** Continue the running coroutine on the home thread of @ctx. */
void aio_co_move_to(AioContext *ctx);

/** Submit @io and yield until it is done; the result is in @io and returned. */
int aio_co_io(AioIo *io);

/** Yield for @ns nanoseconds. */
void aio_co_sleep(int64_t ns);

/** Coroutine stacks alive in the calling thread's pool (for tests). */
unsigned aio_co_pooled_stacks(void);

#endif /* SLUICE_AIO_COROUTINE_H */
