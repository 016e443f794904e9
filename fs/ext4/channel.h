/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** How libext2fs reads: from a block node. */
#ifndef SLUICE_FS_EXT4_CHANNEL_H
#define SLUICE_FS_EXT4_CHANNEL_H

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "fs/block/node.h"

/**
 * Open the file system in @node with libext2fs, for reading. @node stays the caller's and must
 * outlive *@fs, which ext2fs_free() closes. Returns a code of libext2fs. Before any worker runs.
 */
errcode_t ext4_channel_open(BlockNode *node, ext2_filsys *fs);

#endif /* SLUICE_FS_EXT4_CHANNEL_H */
