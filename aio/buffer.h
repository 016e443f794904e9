/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A pool of page-aligned buffers of one size, for one thread.
 *
 * Memory is reserved by mmap and touched as used. A buffer that was used
 * beyond AIO_BUFFER_RESIDENT and then not needed that much for a while gives
 * the pages above that limit back, so that an hour of 1 MiB requests does not
 * pin memory for ever, while a steady load of them takes no page faults.
 */
#ifndef SLUICE_AIO_BUFFER_H
#define SLUICE_AIO_BUFFER_H

#include <stddef.h>

typedef struct AioBufferPool AioBufferPool;
typedef struct AioBufferDepot AioBufferDepot;

/** Bytes of a free buffer that stay resident, its headroom apart. */
#define AIO_BUFFER_RESIDENT ((size_t)64 * 1024)

/** Buffers are looked through for pages to give back once in so many returns. */
#define AIO_BUFFER_TRIM_INTERVAL 256

/**
 * @size: bytes of each buffer, rounded up to pages
 * @headroom: bytes that must be writable before each buffer's aligned start
 * @keep: free buffers kept; more are unmapped
 */
AioBufferPool *aio_buffer_pool_new(size_t size, size_t headroom, unsigned keep);

/**
 * A place where pools of the same size and headroom leave free buffers with more than
 * AIO_BUFFER_RESIDENT in memory, and take them from: many threads together then keep about as
 * many as were in use at once, not each of them its own greatest number.
 * @keep: buffers kept there; more are unmapped. Any thread.
 */
AioBufferDepot *aio_buffer_depot_new(size_t size, size_t headroom, unsigned keep);

/** Every pool must have been freed. NULL is ignored. */
void aio_buffer_depot_free(AioBufferDepot *depot);

/** A pool with @depot's size and headroom that uses it. The depot must outlive the pool. */
AioBufferPool *aio_buffer_pool_new_at(AioBufferDepot *depot, unsigned keep);

/** Large free buffers that a pool with a depot keeps for itself. */
#define AIO_BUFFER_OWN_LARGE 8

/** Every buffer must have been returned. */
void aio_buffer_pool_free(AioBufferPool *pool);

/** A page-aligned buffer, or NULL when memory is short. Home thread. */
void *aio_buffer_get(AioBufferPool *pool);

/**
 * Return a buffer of which the first @used bytes may have been touched. Home
 * thread.
 */
void aio_buffer_put(AioBufferPool *pool, void *buffer, size_t used);

/**
 * Give back now what free buffers hold above AIO_BUFFER_RESIDENT; for an
 * owner that has become idle. Home thread.
 */
void aio_buffer_pool_trim(AioBufferPool *pool);

/**
 * Memory aligned to @alignment (a power of two) for O_DIRECT; NULL when
 * short. Free with free().
 */
void *aio_buffer_alloc_aligned(size_t alignment, size_t size);

#endif /* SLUICE_AIO_BUFFER_H */
