/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The content of files. */
#ifndef SLUICE_FS_EXT4_DATA_H
#define SLUICE_FS_EXT4_DATA_H

#include <sys/types.h>

#include "fs/ext4/inode.h"

/**
 * Read up to the end of the file: every run of blocks by a transfer of its own, all at
 * once. In a coroutine. Bytes or negative errno.
 */
ssize_t ext4_read(Ext4Volume *volume, const Ext4Inode *inode, void *buffer, size_t size,
                  uint64_t offset);

/** SEEK_DATA or SEEK_HOLE from @offset. In a coroutine. The offset, or negative errno. */
int64_t ext4_seek(Ext4Volume *volume, const Ext4Inode *inode, int64_t offset, int whence);

/**
 * The target of a link in @target, which has room for a block and a terminator. In a
 * coroutine. 0 or negative errno; -EUCLEAN has been reported.
 */
int ext4_read_link(Ext4Volume *volume, const Ext4Inode *inode, char *target);

#endif /* SLUICE_FS_EXT4_DATA_H */
