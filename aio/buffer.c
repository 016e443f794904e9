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
 * A depot is a pool with a lock, from which and to which large buffers move. What is there is
 * given back by the same rule, an interval being one of any of its pools.
 *
 * Under AddressSanitizer a free buffer is poisoned: using it is an error.
 */
#include "aio/buffer.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
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
    unsigned large_count; /* on the free list with more than AIO_BUFFER_RESIDENT touched */
    unsigned returns;     /* in this interval */
    unsigned interval;
    AioBufferDepot *depot; /* NULL: none */
};

struct AioBufferDepot {
    pthread_mutex_t lock;
    AioBufferPool pool;
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

static void pool_init(AioBufferPool *pool, size_t size, size_t headroom, unsigned keep)
{
    assert(size > 0 && size < SIZE_MAX / 4 && headroom < SIZE_MAX / 4);
    pool->size = round_up_to_page(size);
    pool->front = round_up_to_page(sizeof(BufferHeader) + headroom);
    pool->keep = keep;
}

AioBufferPool *aio_buffer_pool_new(size_t size, size_t headroom, unsigned keep)
{
    AioBufferPool *pool = g_new0(AioBufferPool, 1);

    pool_init(pool, size, headroom, keep);
    return pool;
}

AioBufferDepot *aio_buffer_depot_new(size_t size, size_t headroom, unsigned keep)
{
    AioBufferDepot *depot = g_new0(AioBufferDepot, 1);

    pthread_mutex_init(&depot->lock, NULL);
    pool_init(&depot->pool, size, headroom, keep);
    return depot;
}

AioBufferPool *aio_buffer_pool_new_at(AioBufferDepot *depot, unsigned keep)
{
    AioBufferPool *pool = g_new0(AioBufferPool, 1);

    pool->size = depot->pool.size;
    pool->front = depot->pool.front;
    pool->keep = keep;
    pool->depot = depot;
    return pool;
}

static bool is_large(const BufferHeader *header)
{
    return header->touched > AIO_BUFFER_RESIDENT;
}

static void buffer_unmap(AioBufferPool *pool, BufferHeader *header)
{
    buffer_unpoison(header, pool->front + pool->size);
    munmap(header, pool->front + pool->size);
}

/** The first of the free list, or NULL. */
static BufferHeader *pool_pop(AioBufferPool *pool)
{
    BufferHeader *header = pool->free_list;

    if (header) {
        pool->free_list = header->next;
        pool->free_count--;
        pool->large_count -= is_large(header);
    }
    return header;
}

static void pool_push(AioBufferPool *pool, BufferHeader *header)
{
    header->next = pool->free_list;
    pool->free_list = header;
    pool->free_count++;
    pool->large_count += is_large(header);
}

static void unmap_all(AioBufferPool *pool)
{
    BufferHeader *header;

    while ((header = pool_pop(pool))) {
        buffer_unmap(pool, header);
    }
}

void aio_buffer_pool_free(AioBufferPool *pool)
{
    if (!pool) {
        return;
    }
    assert(pool->in_use == 0);
    unmap_all(pool);
    g_free(pool);
}

void aio_buffer_depot_free(AioBufferDepot *depot)
{
    if (!depot) {
        return;
    }
    unmap_all(&depot->pool);
    pthread_mutex_destroy(&depot->lock);
    g_free(depot);
}

static BufferHeader *depot_take(AioBufferPool *pool)
{
    AioBufferDepot *depot = pool->depot;

    pthread_mutex_lock(&depot->lock);
    BufferHeader *header = pool_pop(&depot->pool);
    pthread_mutex_unlock(&depot->lock);
    if (header) {
        header->last_large = pool->interval;
    }
    return header;
}

/** Leave @header at the depot. False: it is full. */
static bool depot_leave(AioBufferDepot *depot, BufferHeader *header)
{
    pthread_mutex_lock(&depot->lock);
    const bool room = depot->pool.free_count < depot->pool.keep;
    if (room) {
        header->last_large = depot->pool.interval;
        pool_push(&depot->pool, header);
    }
    pthread_mutex_unlock(&depot->lock);
    return room;
}

void *aio_buffer_get(AioBufferPool *pool)
{
    BufferHeader *header = pool_pop(pool);
    if (!header && pool->depot) {
        header = depot_take(pool);
    }
    if (header) {
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
    pool->large_count--;
}

/** Give back what free buffers hold, or only those that were not large in this interval. */
static void pool_trim(AioBufferPool *pool, bool all)
{
    for (BufferHeader *header = pool->free_list; header && pool->large_count > 0;
         header = header->next) {
        if (all || header->last_large != pool->interval) {
            buffer_give_back(pool, header);
        }
    }
}

static void depot_trim(AioBufferDepot *depot, bool all)
{
    pthread_mutex_lock(&depot->lock);
    pool_trim(&depot->pool, all);
    depot->pool.interval++;
    pthread_mutex_unlock(&depot->lock);
}

void aio_buffer_pool_trim(AioBufferPool *pool)
{
    pool_trim(pool, true);
    if (pool->depot) {
        depot_trim(pool->depot, true);
    }
}

static void end_interval(AioBufferPool *pool)
{
    pool_trim(pool, false);
    if (pool->depot) {
        depot_trim(pool->depot, false);
    }
    pool->returns = 0;
    pool->interval++;
}

void aio_buffer_put(AioBufferPool *pool, void *buffer, size_t used)
{
    assert(used <= pool->size && pool->in_use > 0);
    BufferHeader *header = buffer_to_header(pool, buffer);
    pool->in_use--;

    if (used > header->touched) {
        header->touched = used;
    }
    if (used > AIO_BUFFER_RESIDENT) {
        header->last_large = pool->interval;
    }
    const bool leave = pool->depot && is_large(header) && pool->large_count >= AIO_BUFFER_OWN_LARGE;
    buffer_poison(header + 1, pool->front - sizeof(*header) + pool->size);
    if (leave ? !depot_leave(pool->depot, header) : pool->free_count >= pool->keep) {
        buffer_unmap(pool, header);
    } else if (!leave) {
        pool_push(pool, header);
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
