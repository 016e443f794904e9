/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Handles of directories, also of those that are read without having been opened. */
#ifndef SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H
#define SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/passthrough/handle.h"

typedef struct FsPassthrough FsPassthrough;

/** Whether OPENDIR may be answered with ENOSYS, if the kernel knows that answer. */
bool fs_dirs_need_no_opening(const FsPassthrough *pt);

/** Open @inode and make a handle, which the caller owns. 0 or negative errno. Any thread. */
int fs_dir_handle_open(FsPassthrough *pt, FsInode *inode, FsHandle **handle);

/**
 * The handle for a request: @fh of a file or directory that was opened, or, for a
 * directory that was not (0), a new one of @ino, which is closed with its last reference.
 * With a reference for the caller. 0 or negative errno. Any thread.
 */
int fs_dir_handle_get(FsPassthrough *pt, uint64_t ino, uint64_t fh, FsHandle **handle);

#endif /* SLUICE_FS_PASSTHROUGH_DIR_HANDLE_H */
