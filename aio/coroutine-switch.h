/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The bare switch between two stacks; one back end is chosen at build time
 * (meson option `coroutine_backend`).
 *
 * native (x86_64, aarch64): coroutine-switch-ARCH.S pushes what the psABI
 * calls callee-saved, including the floating-point control words, and swaps
 * stack pointers: no system call. ucontext (anything else): swapcontext(3),
 * which also saves and restores the signal mask with a system call each time.
 *
 * Nothing here knows of sanitizers; that is coroutine-fiber.
 */
#ifndef SLUICE_AIO_COROUTINE_SWITCH_H
#define SLUICE_AIO_COROUTINE_SWITCH_H

#include <stddef.h>

#ifdef AIO_COROUTINE_UCONTEXT
#include <ucontext.h>
#endif

/** A stack that is not running: where to continue it. */
typedef struct AioCoRegisters {
#ifdef AIO_COROUTINE_UCONTEXT
    ucontext_t context;
    void (*entry)(void *opaque);
    void *opaque;
#else
    void *stack_pointer; /**< the saved registers lie above it */
#endif
} AioCoRegisters;

/**
 * Make the first switch to @registers call @entry(@opaque) on the stack of
 * @size bytes that begins at the lowest address @stack. @entry never returns.
 * @registers must not move afterwards.
 */
void aio_co_registers_prepare(AioCoRegisters *registers, void *stack, size_t size,
                              void (*entry)(void *opaque), void *opaque);

#ifdef AIO_COROUTINE_UCONTEXT
#define aio_co_registers_switch_impl(from, to) swapcontext(&(from)->context, &(to)->context)
#else
void aio_co_native_switch(void **save, void *stack_pointer);
#define aio_co_registers_switch_impl(from, to)                                                     \
    aio_co_native_switch(&(from)->stack_pointer, (to)->stack_pointer)
#endif

/**
 * Save the running stack in @from and continue @to. Returns when @from is
 * continued. Inline, because a function of its own would be entered on one
 * fiber and left on another in the eyes of ThreadSanitizer.
 */
static inline __attribute__((always_inline)) void aio_co_registers_switch(AioCoRegisters *from,
                                                                          AioCoRegisters *to)
{
    aio_co_registers_switch_impl(from, to);
}

#endif /* SLUICE_AIO_COROUTINE_SWITCH_H */
