/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page-aligned buffers of one size, reused last in first out.
 *
 * How it works: each buffer is one anonymous mapping,
 *
 *     | BufferHeader ... | headroom | size bytes            |
 *     ^ mapping                     ^ page boundary: what the caller gets
 *
 * The most recently returned buffer is handed out next, because its pages
 * are mapped and warm. Returning memory to the kernel at every return would
 * cost a page fault per page of the next request; never returning it would
 * let one burst of large requests pin memory for ever. So returns are counted
 * in intervals, each buffer remembers the interval in which it last grew
 * beyond the resident limit, and at the end of an interval a free buffer that
 * did not do so in it gives its upper pages back.
 *
 * Under AddressSanitizer a free buffer is poisoned: using it is an error.
 */
#include "aio/buffer.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <glib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUFFER_POISON 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define BUFFER_POISON 1
#endif

#ifdef BUFFER_POISON
#include <sanitizer/asan_interface.h>
#define buffer_poison(start, size)   __asan_poison_memory_region(start, size)
#define buffer_unpoison(start, size) __asan_unpoison_memory_region(start, size)
#else
#define buffer_poison(start, size)   ((void)(start), (void)(size))
#define buffer_unpoison(start, size) ((void)(start), (void)(size))
#endif

typedef struct BufferHeader {
    struct BufferHeader *next; /* free list */
    size_t touched;            /* bytes that may have pages */
    unsigned last_large;       /* interval of the last use beyond the limit */
} BufferHeader;

struct AioBufferPool {
    size_t size;
    size_t front; /* bytes from the mapping to the buffer */
    unsigned keep;
    BufferHeader *free_list;
    unsigned free_count;
    unsigned in_use;
    unsigned returns; /* in this interval */
    unsigned interval;
};

static size_t round_up_to_page(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

static void *header_to_buffer(const AioBufferPool *pool, BufferHeader *header)
{
    return (char *)header + pool->front;
}

static BufferHeader *buffer_to_header(const AioBufferPool *pool, void *buffer)
{
    return (BufferHeader *)(void *)((char *)buffer - pool->front);
}

AioBufferPool *aio_buffer_pool_new(size_t size, size_t headroom, unsigned keep)
{
    assert(size > 0 && size < SIZE_MAX / 4 && headroom < SIZE_MAX / 4);
    AioBufferPool *pool = g_new0(AioBufferPool, 1);
    pool->size = round_up_to_page(size);
    pool->front = round_up_to_page(sizeof(BufferHeader) + headroom);
    pool->keep = keep;
    return pool;
}

static void buffer_unmap(AioBufferPool *pool, BufferHeader *header)
{
    buffer_unpoison(header, pool->front + pool->size);
    munmap(header, pool->front + pool->size);
}

void aio_buffer_pool_free(AioBufferPool *pool)
{
    if (!pool) {
        return;
    }
    assert(pool->in_use == 0);
    while (pool->free_list) {
        BufferHeader *header = pool->free_list;
        pool->free_list = header->next;
        buffer_unmap(pool, header);
    }
    g_free(pool);
}

void *aio_buffer_get(AioBufferPool *pool)
{
    BufferHeader *header = pool->free_list;
    if (header) {
        pool->free_list = header->next;
        pool->free_count--;
        buffer_unpoison(header + 1, pool->front - sizeof(*header) + pool->size);
    } else {
        header = mmap(NULL, pool->front + pool->size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (header == MAP_FAILED) {
            return NULL;
        }
        header->touched = 0;
        header->last_large = pool->interval;
    }
    pool->in_use++;
    return header_to_buffer(pool, header);
}

static void buffer_give_back(AioBufferPool *pool, BufferHeader *header)
{
    if (header->touched <= AIO_BUFFER_RESIDENT) {
        return;
    }
    size_t start = round_up_to_page(AIO_BUFFER_RESIDENT);
    size_t end = round_up_to_page(header->touched);
    if (end > start) {
        madvise((char *)header_to_buffer(pool, header) + start, end - start, MADV_DONTNEED);
    }
    header->touched = AIO_BUFFER_RESIDENT;
}

void aio_buffer_pool_trim(AioBufferPool *pool)
{
    for (BufferHeader *header = pool->free_list; header; header = header->next) {
        buffer_give_back(pool, header);
    }
}

static void end_interval(AioBufferPool *pool)
{
    for (BufferHeader *header = pool->free_list; header; header = header->next) {
        if (header->last_large != pool->interval) {
            buffer_give_back(pool, header);
        }
    }
    pool->returns = 0;
    pool->interval++;
}

void aio_buffer_put(AioBufferPool *pool, void *buffer, size_t used)
{
    assert(used <= pool->size && pool->in_use > 0);
    BufferHeader *header = buffer_to_header(pool, buffer);
    pool->in_use--;

    if (pool->free_count >= pool->keep) {
        buffer_unmap(pool, header);
    } else {
        if (used > header->touched) {
            header->touched = used;
        }
        if (used > AIO_BUFFER_RESIDENT) {
            header->last_large = pool->interval;
        }
        header->next = pool->free_list;
        pool->free_list = header;
        pool->free_count++;
        buffer_poison(header + 1, pool->front - sizeof(*header) + pool->size);
    }

    if (++pool->returns >= AIO_BUFFER_TRIM_INTERVAL) {
        end_interval(pool);
    }
}

void *aio_buffer_alloc_aligned(size_t alignment, size_t size)
{
    assert(alignment > 0 && (alignment & (alignment - 1)) == 0);
    if (alignment < sizeof(void *)) {
        alignment = sizeof(void *);
    }
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, size ? size : alignment) != 0) {
        return NULL;
    }
    return memory;
}
