/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Where the blocks of a file are: ext4's extents, and the pointer blocks of ext2 and ext3. */
#ifndef SLUICE_FS_EXT4_MAP_H
#define SLUICE_FS_EXT4_MAP_H

#include "fs/ext4/inode.h"

/** Blocks of a file that are of one kind and lie next to each other. */
typedef struct Ext4Run {
    uint64_t length;   /**< blocks, at least 1 */
    uint64_t physical; /**< of the first block; 0: they read as zeros */
} Ext4Run;

/**
 * The run that begins with block @logical of @inode, as far as one look shows it. Behind the
 * end of the file there are zeros. In a coroutine. -EUCLEAN has been reported.
 */
int ext4_map(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical, Ext4Run *run);

#endif /* SLUICE_FS_EXT4_MAP_H */
