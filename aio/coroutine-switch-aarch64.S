/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stack switch for aarch64 (AAPCS64).
 *
 * Callee-saved are x19-x30, the low halves of v8-v15 and FPCR. They are
 * stored on the stack that is left, so that a saved context is one pointer.
 * Writing FPCR is slow and almost never needed: it is compared first.
 *
 * The stack of a context that is not running, from its saved pointer upward:
 *      0  x19, x20   16  x21, x22   32  x23, x24   48  x25, x26   64  x27, x28
 *     80  x29, x30 (return address)
 *     96  d8, d9   112  d10, d11   128  d12, d13   144  d14, d15
 *    160  FPCR, padding
 * aio_co_registers_prepare() builds the same picture for a new stack.
 *
 * No GNU property note: an object without one makes the linker drop the
 * program's guarded-control-stack marking, which is what a stack switch needs.
 */
        .text

/* void aio_co_native_switch(void **save, void *stack_pointer) */
        .globl  aio_co_native_switch
        .hidden aio_co_native_switch
        .type   aio_co_native_switch, %function
        .p2align 4
aio_co_native_switch:
        .cfi_startproc
        sub     sp, sp, #176
        .cfi_adjust_cfa_offset 176
        stp     x19, x20, [sp, #0]
        stp     x21, x22, [sp, #16]
        stp     x23, x24, [sp, #32]
        stp     x25, x26, [sp, #48]
        stp     x27, x28, [sp, #64]
        stp     x29, x30, [sp, #80]
        .cfi_rel_offset x29, 80
        .cfi_rel_offset x30, 88
        stp     d8, d9, [sp, #96]
        stp     d10, d11, [sp, #112]
        stp     d12, d13, [sp, #128]
        stp     d14, d15, [sp, #144]
        mrs     x9, fpcr
        str     x9, [sp, #160]

        mov     x10, sp
        str     x10, [x0]
        mov     sp, x1

        ldr     x10, [sp, #160]
        cmp     x10, x9
        b.eq    1f
        msr     fpcr, x10
1:      ldp     x19, x20, [sp, #0]
        ldp     x21, x22, [sp, #16]
        ldp     x23, x24, [sp, #32]
        ldp     x25, x26, [sp, #48]
        ldp     x27, x28, [sp, #64]
        ldp     x29, x30, [sp, #80]
        ldp     d8, d9, [sp, #96]
        ldp     d10, d11, [sp, #112]
        ldp     d12, d13, [sp, #128]
        ldp     d14, d15, [sp, #144]
        add     sp, sp, #176
        .cfi_adjust_cfa_offset -176
        .cfi_restore x29
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   aio_co_native_switch, . - aio_co_native_switch

/* Bottom frame of a new stack: call x20(x19); back traces end here. */
        .globl  aio_co_native_start
        .hidden aio_co_native_start
        .type   aio_co_native_start, %function
        .p2align 4
aio_co_native_start:
        .cfi_startproc
        .cfi_undefined x30
        mov     x0, x19
        blr     x20
        brk     #1
        .cfi_endproc
        .size   aio_co_native_start, . - aio_co_native_start

        .section .note.GNU-stack, "", %progbits
