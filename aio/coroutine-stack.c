/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pooled coroutine stacks with a guard area.
 *
 * How it works: stacks grow down, so the guard lies at the low end of the
 * mapping and touching it ends the process with SIGSEGV. It spans 64 KiB so
 * that a function with a large frame does not step over it.
 *
 * Where the kernel has MADV_GUARD_INSTALL (6.13) the guard is a mark in the
 * page table and neighbouring stacks share one mapping; elsewhere, and for
 * memory locked with mlockall(2), which the mark does not support, mprotect(2)
 * splits the mapping in two, and vm.max_map_count (65530 by default) bounds
 * the stacks of the process to about 32 000.
 *
 * Each thread keeps at most AIO_CO_STACKS_POOLED_MAX stacks, last used first
 * (its top pages are warm); they are unmapped when the thread exits.
 */
#include "aio/coroutine-stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include <glib.h>

#include "aio/coroutine.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

#define MAPPED_SIZE (AIO_CO_STACK_GUARD_SIZE + AIO_COROUTINE_STACK_SIZE)

typedef struct StackPool {
    unsigned count;
    void *stacks[AIO_CO_STACKS_POOLED_MAX];
} StackPool;

static void stack_unmap(void *stack)
{
    munmap((char *)stack - AIO_CO_STACK_GUARD_SIZE, MAPPED_SIZE);
}

/* Runs in the exiting thread. */
static void stack_pool_free(gpointer data)
{
    StackPool *pool = data;
    while (pool->count > 0) {
        stack_unmap(pool->stacks[--pool->count]);
    }
    g_free(pool);
}

static StackPool *stack_pool_of_thread(void)
{
    static GPrivate pool_key = G_PRIVATE_INIT(stack_pool_free);

    StackPool *pool = g_private_get(&pool_key);
    if (pool == NULL) {
        pool = g_new0(StackPool, 1);
        g_private_set(&pool_key, pool);
    }
    return pool;
}

static void *stack_map(void)
{
    char *mapping = mmap(NULL, MAPPED_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        return NULL;
    }
    if (madvise(mapping, AIO_CO_STACK_GUARD_SIZE, MADV_GUARD_INSTALL) < 0 &&
        mprotect(mapping, AIO_CO_STACK_GUARD_SIZE, PROT_NONE) < 0) {
        int saved_errno = errno;
        munmap(mapping, MAPPED_SIZE);
        errno = saved_errno;
        return NULL;
    }
    return mapping + AIO_CO_STACK_GUARD_SIZE;
}

void *aio_co_stack_get(void)
{
    StackPool *pool = stack_pool_of_thread();
    if (pool->count > 0) {
        return pool->stacks[--pool->count];
    }
    return stack_map();
}

void aio_co_stack_put(void *stack)
{
    StackPool *pool = stack_pool_of_thread();
    if (pool->count < AIO_CO_STACKS_POOLED_MAX) {
        pool->stacks[pool->count++] = stack;
        return;
    }
    stack_unmap(stack);
}

unsigned aio_co_stack_pooled(void)
{
    return stack_pool_of_thread()->count;
}
