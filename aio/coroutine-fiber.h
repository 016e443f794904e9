/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A fiber: a stack with its saved registers, and the switch between two,
 * announced to AddressSanitizer and ThreadSanitizer.
 *
 * One thread runs a fiber at a time; the caller orders a fiber that changes
 * threads (a bottom half does).
 */
#ifndef SLUICE_AIO_COROUTINE_FIBER_H
#define SLUICE_AIO_COROUTINE_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include "aio/coroutine-switch.h"

#if defined(__SANITIZE_ADDRESS__)
#define AIO_CO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define AIO_CO_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define AIO_CO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AIO_CO_TSAN 1
#endif
#endif

#ifndef AIO_CO_ASAN
#define AIO_CO_ASAN 0
#endif
#ifndef AIO_CO_TSAN
#define AIO_CO_TSAN 0
#endif

typedef struct AioCoFiber AioCoFiber;

struct AioCoFiber {
    AioCoRegisters registers;
    void (*entry)(void *opaque);
    void *opaque;
#if AIO_CO_ASAN
    const void *stack; /**< of a thread's own stack: learned when it is first left */
    size_t stack_size;
    void *fake_stack;     /**< AddressSanitizer's frames for use-after-return */
    AioCoFiber *previous; /**< who switched here last */
#endif
#if AIO_CO_TSAN
    void *tsan_fiber;
#endif
};

/** Let @fiber stand for the calling thread's own stack, until the next switch back to it. */
void aio_co_fiber_init_thread(AioCoFiber *fiber);

/**
 * A fiber that will call @entry(@opaque) on the @size bytes at @stack. @entry
 * leaves with aio_co_fiber_exit() and never returns. @fiber must not move.
 */
void aio_co_fiber_init(AioCoFiber *fiber, void *stack, size_t size, void (*entry)(void *opaque),
                       void *opaque);

/** After the fiber's exit, or before it ever ran. Any thread. */
void aio_co_fiber_fini(AioCoFiber *fiber);

/** Leave @from, the running fiber, for @to. Returns when somebody switches back. */
void aio_co_fiber_switch(AioCoFiber *from, AioCoFiber *to);

/** Leave @from for ever. */
_Noreturn void aio_co_fiber_exit(AioCoFiber *from, AioCoFiber *to);

#endif /* SLUICE_AIO_COROUTINE_FIBER_H */
