/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Stacks for coroutines: AIO_COROUTINE_STACK_SIZE bytes above a guard area,
 * pooled per thread. Every function works on the calling thread's pool; a
 * stack may be taken by one thread and given back by another.
 */
#ifndef SLUICE_AIO_COROUTINE_STACK_H
#define SLUICE_AIO_COROUTINE_STACK_H

/** Stacks kept by one thread; more are unmapped. */
#define AIO_CO_STACKS_POOLED_MAX 64
/** Bytes below a stack that must not be touched. */
#define AIO_CO_STACK_GUARD_SIZE (64 * 1024)

/**
 * The lowest usable byte of a stack, page aligned; NULL with errno set when
 * there is no memory, or no mapping left (vm.max_map_count). Contents undefined.
 */
void *aio_co_stack_get(void);

/** Give a stack back; nothing may run on it. */
void aio_co_stack_put(void *stack);

/** Stacks in the calling thread's pool. */
unsigned aio_co_stack_pooled(void);

#endif /* SLUICE_AIO_COROUTINE_STACK_H */
