/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A pool of page-aligned buffers of one size, for one thread.
 *
 * Memory is reserved by mmap and touched as used; buffers whose use exceeded
 * a limit give their pages back when freed, so that an hour of 1 MiB requests
 * does not pin memory for ever.
 */
#ifndef SLUICE_AIO_BUFFER_H
#define SLUICE_AIO_BUFFER_H

#include <stddef.h>

typedef struct AioBufferPool AioBufferPool;

/**
 * @size: bytes of each buffer, rounded up to pages
 * @headroom: bytes that must be writable before each buffer's aligned start
 * @keep: free buffers kept; more are unmapped
 */
AioBufferPool *aio_buffer_pool_new(size_t size, size_t headroom, unsigned keep);

/** Every buffer must have been returned. */
void aio_buffer_pool_free(AioBufferPool *pool);

/** A page-aligned buffer, or NULL when memory is short. Home thread. */
void *aio_buffer_get(AioBufferPool *pool);

/** Return a buffer of which the first @used bytes may have been touched. Home thread. */
void aio_buffer_put(AioBufferPool *pool, void *buffer, size_t used);

/** Memory aligned to @alignment for O_DIRECT; NULL when short. Free with free(). */
void *aio_buffer_alloc_aligned(size_t alignment, size_t size);

#endif /* SLUICE_AIO_BUFFER_H */
