/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stack switch with ucontext(3), for machines without an assembler switch.
 *
 * makecontext() passes int arguments only, so the pointer to the registers
 * travels in two halves.
 */
#include "aio/coroutine-switch.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

static void ucontext_start(unsigned high, unsigned low)
{
    AioCoRegisters *registers = (AioCoRegisters *)(uintptr_t)((uint64_t)high << 32 | low);
    registers->entry(registers->opaque);
    abort();
}

void aio_co_registers_prepare(AioCoRegisters *registers, void *stack, size_t size,
                              void (*entry)(void *opaque), void *opaque)
{
    uint64_t address = (uintptr_t)registers;

    int rc = getcontext(&registers->context);
    assert(rc == 0);
    (void)rc;
    registers->context.uc_stack.ss_sp = stack;
    registers->context.uc_stack.ss_size = size;
    registers->context.uc_link = NULL;
    registers->entry = entry;
    registers->opaque = opaque;
    makecontext(&registers->context, (void (*)(void))ucontext_start, 2, (unsigned)(address >> 32),
                (unsigned)address);
}
