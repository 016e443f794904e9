/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The index of a large directory: from the hash of a name to its block. */
#ifndef SLUICE_FS_EXT4_HTREE_H
#define SLUICE_FS_EXT4_HTREE_H

#include "fs/ext4/inode.h"

/**
 * Look for @name by the index of @directory. In a coroutine. 1: found, 0: it is not there,
 * -EUCLEAN (not reported): the index cannot be used, look through all blocks.
 */
int ext4_htree_find(Ext4Volume *volume, const Ext4Inode *directory, const char *name,
                    uint32_t *ino);

/** Whether @data is an index block; where there are checksums, nothing else looks like one. */
bool ext4_htree_is_index(const Ext4Volume *volume, const uint8_t *data);

/** Whether the checksum of an index block is right. */
bool ext4_htree_check(const Ext4Volume *volume, const Ext4Inode *directory, const uint8_t *data);

#endif /* SLUICE_FS_EXT4_HTREE_H */
