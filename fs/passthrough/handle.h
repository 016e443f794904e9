/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The handle table: files and directories that clients have open. */
#ifndef SLUICE_FS_PASSTHROUGH_HANDLE_H
#define SLUICE_FS_PASSTHROUGH_HANDLE_H

#include "fs/passthrough/inode.h"
#include "fs/passthrough/kernel-io.h"

typedef struct FsDirStream FsDirStream;

typedef struct FsHandleTable {
    FsSlotTable slots;
} FsHandleTable;

/** Values of FsHandle.direct_fd besides a descriptor. */
enum {
    FS_HANDLE_DIRECT_NEVER = -2,  /**< the file system has no O_DIRECT */
    FS_HANDLE_DIRECT_UNUSED = -1, /**< no direct request yet */
};

typedef struct FsHandle {
    FsSlot slot;
    FsHandleTable *table;
    FsInode *inode; /**< referenced */
    int fd;
    int flags;                         /**< open(2) flags of fd */
    _Atomic bool cached;               /**< counted in the inode's cached_handles */
    _Atomic bool released;             /**< the client's reference has been dropped */
    _Atomic bool locks;                /**< a lock owner came with it */
    _Atomic int direct_fd;             /**< the same file with O_DIRECT */
    _Atomic unsigned direct_alignment; /**< bytes; valid once direct_fd is a descriptor */
    _Atomic unsigned read_skip;        /**< reads that go to the ring without an inline try */
    _Atomic unsigned read_miss;        /**< what read_skip was set to by the last miss */
    FsIoMode io_mode;                  /**< under the inode's lock of FsKernelIo */
    FsDirStream *dir;                  /**< owned; NULL for a file */
} FsHandle;

void fs_handles_init(FsHandleTable *table);

/** Close every handle that is left. Before fs_inodes_fini(). */
void fs_handles_fini(FsHandleTable *table);

/**
 * Make a handle of @fd, opened with @flags. Takes @fd and @dir, and a
 * reference of its own on @inode. The caller holds the client's reference,
 * dropped by fs_handle_release(). NULL (all closed): memory is short. Any thread.
 */
FsHandle *fs_handle_new(FsHandleTable *table, FsInode *inode, int fd, int flags, FsDirStream *dir);

/** The client's file goes through the page cache. Before the client knows the handle. */
void fs_handle_set_cached(FsHandle *handle);

/** Take a reference on an open handle, or NULL. Any thread. */
FsHandle *fs_handle_get(FsHandleTable *table, uint64_t id);

/** Drop a reference; the last closes the descriptors. NULL is allowed. Any thread. */
void fs_handle_put(FsHandle *handle);

/**
 * The client has closed @id: it is unknown from now on, and closed once no
 * running operation holds it. False: it was not open. Any thread.
 */
bool fs_handle_release(FsHandleTable *table, uint64_t id);

static inline uint64_t fs_handle_id(const FsHandle *handle)
{
    return fs_slot_id(&handle->slot);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(FsHandle, fs_handle_put)

#endif /* SLUICE_FS_PASSTHROUGH_HANDLE_H */
