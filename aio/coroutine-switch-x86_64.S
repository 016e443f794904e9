/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stack switch for x86_64 (System V psABI).
 *
 * Callee-saved are rbx, rbp, r12-r15, the MXCSR control bits and the x87
 * control word. They are pushed on the stack that is left, so that a saved
 * context is one pointer. Loading a control word is slow and almost never
 * needed: both are compared first.
 *
 * The stack of a context that is not running, from its saved pointer upward:
 *      0  MXCSR (4 bytes), x87 control word (2 bytes), zero (2 bytes)
 *      8  r15   16  r14   24  r13   32  r12   40  rbx   48  rbp
 *     56  return address
 * aio_co_registers_prepare() builds the same picture for a new stack.
 *
 * No GNU property note: an object without one makes the linker drop the
 * program's shadow-stack marking, which is what a stack switch needs.
 */
        .text

/* void aio_co_native_switch(void **save, void *stack_pointer) */
        .globl  aio_co_native_switch
        .hidden aio_co_native_switch
        .type   aio_co_native_switch, @function
        .p2align 4
aio_co_native_switch:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        pushq   $0
        .cfi_adjust_cfa_offset 8
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movl    (%rsp), %eax
        movl    4(%rsp), %ecx

        movq    %rsp, (%rdi)
        movq    %rsi, %rsp

        cmpl    %eax, (%rsp)
        je      1f
        ldmxcsr (%rsp)
1:      cmpl    %ecx, 4(%rsp)
        je      2f
        fldcw   4(%rsp)
2:      addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   aio_co_native_switch, . - aio_co_native_switch

/* Bottom frame of a new stack: call r12(rbx); back traces end here. */
        .globl  aio_co_native_start
        .hidden aio_co_native_start
        .type   aio_co_native_start, @function
        .p2align 4
aio_co_native_start:
        .cfi_startproc
        .cfi_undefined %rip
        movq    %rbx, %rdi
        call    *%r12
        ud2
        .cfi_endproc
        .size   aio_co_native_start, . - aio_co_native_start

        .section .note.GNU-stack, "", @progbits
