/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * First frame of a new stack for the assembler switches.
 *
 * How it works: aio_co_native_switch() pops registers and returns. A new stack
 * gets the picture that it would have left behind: the entry function and its
 * argument in two callee-saved registers, aio_co_native_start as the return
 * address, the floating-point control words of the creating thread. The layout
 * is the one drawn at the head of coroutine-switch-ARCH.S.
 */
#include "aio/coroutine-switch.h"

#include <stdint.h>

void aio_co_native_start(void);

#if defined(__x86_64__)

enum { SLOT_CONTROL, SLOT_R12 = 4, SLOT_RBX = 5, SLOT_RETURN = 7, SLOTS };

static void native_first_frame(uint64_t *frame, void (*entry)(void *opaque), void *opaque)
{
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));

    frame[SLOT_CONTROL] = mxcsr | (uint64_t)x87 << 32;
    frame[SLOT_R12] = (uintptr_t)entry;
    frame[SLOT_RBX] = (uintptr_t)opaque;
    frame[SLOT_RETURN] = (uintptr_t)aio_co_native_start;
}

#elif defined(__aarch64__)

enum { SLOT_X19, SLOT_X20, SLOT_X30 = 11, SLOT_FPCR = 20, SLOTS = 22 };

static void native_first_frame(uint64_t *frame, void (*entry)(void *opaque), void *opaque)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));

    frame[SLOT_X19] = (uintptr_t)opaque;
    frame[SLOT_X20] = (uintptr_t)entry;
    frame[SLOT_X30] = (uintptr_t)aio_co_native_start;
    frame[SLOT_FPCR] = fpcr;
}

#else
#error "no assembler switch for this machine: configure with -Dcoroutine_backend=ucontext"
#endif

void aio_co_registers_prepare(AioCoRegisters *registers, void *stack, size_t size,
                              void (*entry)(void *opaque), void *opaque)
{
    /* Both ABIs want 16-byte alignment where aio_co_native_start makes its call. */
    uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
    uint64_t *frame = (uint64_t *)top - SLOTS;

    for (unsigned i = 0; i < SLOTS; i++) {
        frame[i] = 0;
    }
    native_first_frame(frame, entry, opaque);
    registers->stack_pointer = frame;
}
