/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Kernel passthrough: reads, writes and maps of a file that the kernel does on the source's file
 * itself (FUSE_PASSTHROUGH, Linux 6.9). The daemon opens and closes, and sees no data.
 */
#ifndef SLUICE_FS_PASSTHROUGH_KERNEL_IO_H
#define SLUICE_FS_PASSTHROUGH_KERNEL_IO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/passthrough/credentials.h"

typedef struct FsHandle FsHandle;
typedef struct FsInode FsInode;

#define FS_KERNEL_IO_LOCKS 64u

/** How a handle counts in its inode. */
typedef enum FsIoMode {
    FS_IO_UNCOUNTED, /**< not open, or no mode matters in this mount */
    FS_IO_DAEMON,    /**< the kernel sends its reads and writes, or caches its pages */
    FS_IO_KERNEL,    /**< kernel passthrough */
} FsIoMode;

/** Opens since the start, by what became of them. */
typedef struct FsKernelIoStats {
    uint64_t opens;    /**< with kernel passthrough */
    uint64_t withheld; /**< of them: the daemon reads and writes all the same */
    uint64_t mixed;    /**< without: the file was open without it already */
    uint64_t unsuited; /**< without: a file system that is not known to allow it */
    uint64_t refused;  /**< without: the kernel would not register the file */
} FsKernelIoStats;

typedef struct FsKernelIo {
    _Atomic int device_fd; /**< of the connection; negative: kernel passthrough is off */
    _Atomic bool denied;   /**< the kernel does not let us register files */
    pthread_mutex_t locks[FS_KERNEL_IO_LOCKS]; /**< of the inodes' modes, by node id */
    const FsCredentials *credentials;          /**< of the daemon */
    _Atomic uint64_t opens, withheld, mixed, unsuited, refused;
} FsKernelIo;

void fs_kernel_io_init(FsKernelIo *kernel_io, const FsCredentials *credentials);
void fs_kernel_io_fini(FsKernelIo *kernel_io);

/** INIT has agreed on it: files may be registered with the connection of @device_fd (borrowed). */
void fs_kernel_io_enable(FsKernelIo *kernel_io, int device_fd);

static inline bool fs_kernel_io_is_on(FsKernelIo *kernel_io)
{
    return atomic_load_explicit(&kernel_io->device_fd, memory_order_acquire) >= 0;
}

/**
 * A client is about to get @handle, which nobody knows yet: decide who does its I/O.
 *
 * @client_flags: of its open(2)
 * @withheld: set if reads and writes must come to the daemon although there is an id: the
 * answer is FOPEN_DIRECT_IO as well, which the kernel then follows but for maps
 * Returns the backing id to answer with (FOPEN_PASSTHROUGH), or 0: the daemon does it. Any thread.
 */
int fs_kernel_io_enter(FsKernelIo *kernel_io, FsHandle *handle, int client_flags, bool *withheld);

/**
 * The client has closed @handle, or never got it. Once for each enter(); more does no harm. The
 * caller holds a reference. Any thread.
 */
void fs_kernel_io_leave(FsKernelIo *kernel_io, FsHandle *handle);

void fs_kernel_io_get_stats(FsKernelIo *kernel_io, FsKernelIoStats *stats);

#endif /* SLUICE_FS_PASSTHROUGH_KERNEL_IO_H */
