/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** fcntl() and flock() locks taken on the source (locks=remote). */
#ifndef SLUICE_FS_PASSTHROUGH_LOCK_H
#define SLUICE_FS_PASSTHROUGH_LOCK_H

#include <pthread.h>
#include <stdint.h>

#include <glib.h>

#include "fs/passthrough/handle.h"

typedef struct FsLockWaiter FsLockWaiter;

typedef struct FsLockTable {
    pthread_mutex_t lock;
    GHashTable *owners; /**< FsLockOwner, keyed by inode and owner */
    GQueue waiters;     /**< FsLockWaiter, in the order of their requests */
} FsLockTable;

void fs_locks_init(FsLockTable *table);

/** Drop every lock. Nothing waits any more. */
void fs_locks_fini(FsLockTable *table);

/** @owner has closed a descriptor of @inode: POSIX drops all its locks there. Any thread. */
void fs_locks_drop_owner(FsLockTable *table, const FsInode *inode, uint64_t owner);

/** @handle is about to go: drop the locks of the open file, not of a process. Any thread. */
void fs_locks_drop_handle(FsLockTable *table, FsHandle *handle);

/** Something on @inode was unlocked: let those who wait try again. Any thread. */
void fs_locks_wake(FsLockTable *table, const FsInode *inode);

#endif /* SLUICE_FS_PASSTHROUGH_LOCK_H */
