/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Handles of directories, also of those that are read without having been opened. */
#ifndef SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H
#define SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/passthrough/handle.h"

typedef struct FsPassthrough FsPassthrough;

/** Directories that may be kept open between two READDIRs. */
#define FS_DIRS_PARKED 8

typedef struct FsDirHandles {
    bool unannounced; /**< OPENDIR is answered with ENOSYS; constant after INIT */
    pthread_mutex_t lock;
    FsHandle *parked[FS_DIRS_PARKED]; /**< locked; each referenced, or NULL */
    unsigned next;                    /**< locked; whose turn it is to be closed */
} FsDirHandles;

void fs_dir_handles_init(FsDirHandles *dirs);

/** Close what is parked. Before fs_handles_fini(). */
void fs_dir_handles_fini(FsDirHandles *dirs);

/** Open @inode and make a handle, which the caller owns. 0 or negative errno. Any thread. */
int fs_dir_handle_open(FsPassthrough *pt, FsInode *inode, FsHandle **handle);

/**
 * The handle for a request: @fh of a file or directory that was opened, or, for a
 * directory that was not (0), one of @ino that goes on at @position, or a new one.
 * With a reference for the caller. 0 or negative errno. Any thread.
 */
int fs_dir_handle_get(FsPassthrough *pt, uint64_t ino, uint64_t fh, off_t position,
                      FsHandle **handle);

/** More of a directory will be asked for: keep it open. Takes over the reference. Any thread. */
void fs_dir_handle_park(FsDirHandles *dirs, FsHandle *handle);

#endif /* SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H */
