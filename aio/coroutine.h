/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Stackful coroutines for code that must wait in the middle.
 *
 * A coroutine is entered only on its home thread: the home thread of the
 * context that it was made in, started in, or moved to. Any thread may wake
 * it. A thread without a context may run coroutines too; those can be entered
 * and woken by that thread only.
 *
 * Waiting is a loop around a condition:
 *
 *     typedef struct Answer { AioCoroutine *co; bool ready; } Answer;
 *
 *     static void answer_arrived(Answer *answer)      // home thread
 *     {
 *         answer->ready = true;
 *         aio_co_wake(answer->co);
 *     }
 *
 *     Answer answer = { .co = aio_co_self() };
 *     ask(&answer);                                   // may answer at once
 *     while (!answer.ready) {
 *         aio_co_yield();
 *     }
 *
 * A wake that comes before the yield is remembered: the next yield returns at
 * once. It follows that a yield may return for the sake of an earlier wait
 * that did not need to yield; hence the loop.
 *
 * A coroutine must not turn the loop of its thread (aio_context_poll()); it
 * yields instead.
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

/** Stack bytes of a coroutine, its own bookkeeping (below 2 KiB) included. */
#define AIO_COROUTINE_STACK_SIZE (256 * 1024)

/**
 * A coroutine that will run @fn(@opaque). It frees itself when @fn returns;
 * one that is never started is never freed. NULL, with errno set, if there is
 * no memory for its stack. Any thread.
 */
AioCoroutine *aio_co_new(AioCoroutineFn *fn, void *opaque) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Run @co until it yields or ends; nests. For a new coroutine, whose home
 * becomes the calling thread, and for one that waits and that nobody wakes,
 * on its home thread. Anything else is a bug and stops the program.
 */
void aio_co_enter(AioCoroutine *co);

/** Start the new coroutine @co on the home thread of @ctx, in a later turn. Any thread. */
void aio_co_start_in(AioContext *ctx, AioCoroutine *co);

/**
 * Leave the running coroutine until it is woken or entered; returns at once
 * if it was woken since it last yielded.
 */
void aio_co_yield(void);

/** The running coroutine, or NULL outside of any. */
AioCoroutine *aio_co_self(void);
bool aio_co_running(void);

/** The context of @co's home thread, or NULL if that has none. Any thread. */
AioContext *aio_co_context(const AioCoroutine *co);

/**
 * Enter @co soon, on its home thread. Any thread.
 *
 * On the home thread outside of any coroutine: at once, before this call
 * returns. Inside another coroutine: when that one yields or ends, in the order
 * of the wakes. From another thread: by a bottom half. A coroutine that is
 * running or on its way to another thread will not wait at its next yield;
 * waking one that is about to be entered, or that is not started yet, changes
 * or starts it as expected and never enters it twice.
 *
 * @co must not be able to end before this call returns. On its home thread
 * that holds by itself. Elsewhere it holds if @co cannot go on without this
 * wake: let the home thread see the answer by a bottom half, as coroutine-lock
 * does, rather than by a flag that @co may look at in between.
 */
void aio_co_wake(AioCoroutine *co);

/**
 * Continue the running coroutine on the home thread of @ctx, in a later turn;
 * also if that is the present one, which lets the rest of the context run.
 *
 * Across this call, a thread-local variable (errno is one) is another one;
 * the compiler does not know, so do not use one in the same function before
 * and after.
 */
void aio_co_move_to(AioContext *ctx);

/**
 * Submit @io on the home context and yield until it is done. Returns its
 * result, which is also in @io; the done callback of @io is not used.
 */
int aio_co_io(AioIo *io);

/** Yield for @ns nanoseconds; not at all if that is not positive. */
void aio_co_sleep(int64_t ns);

/** Coroutine stacks alive in the calling thread's pool (for tests). */
unsigned aio_co_pooled_stacks(void);

#endif /* SLUICE_AIO_COROUTINE_H */
