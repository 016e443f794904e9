/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How much memory the payloads of FUSE over io_uring hold, all workers of a mount together.
 *
 * How it works: an entry keeps its pages when its request has been answered, since the next one
 * needs them. Those with more than AIO_BUFFER_RESIDENT are counted. Where as much is held as
 * should be, queues get more entries only if they stand still for long (stall.h); where more is
 * held, entries in the kernel without a request give theirs back, the one that was used longest
 * ago first: of the worker that commits, and if it has none, of the others, which are asked to.
 */
#ifndef SLUICE_FS_TRANSPORT_URING_MEMORY_H
#define SLUICE_FS_TRANSPORT_URING_MEMORY_H

#include <stddef.h>

/** What a mount should hold at most: 256 requests of 1 MiB. */
#define FS_URING_MEMORY_MOST ((size_t)256 * 1024 * 1024)

typedef struct FsUringMemory FsUringMemory;

/** @most: bytes; requests that need more than that get it all the same. Any thread. */
FsUringMemory *fs_uring_memory_new(size_t most);

/** After the last transport that uses it. NULL is ignored. */
void fs_uring_memory_free(FsUringMemory *memory);

/** Bytes in payloads that have more than AIO_BUFFER_RESIDENT. Any thread. */
size_t fs_uring_memory_held(const FsUringMemory *memory);

#endif /* SLUICE_FS_TRANSPORT_URING_MEMORY_H */
