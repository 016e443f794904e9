/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Inodes in memory: decoded once, then constant, but for what is known of their blocks. */
#ifndef SLUICE_FS_EXT4_INODE_H
#define SLUICE_FS_EXT4_INODE_H

#include <stdint.h>
#include <sys/stat.h>

#include <glib.h>

#include "fs/ext4/cache.h"
#include "fs/ext4/ext4.h"
#include "fs/ext4/runs.h"

typedef struct Ext4Inode {
    Ext4CacheEntry entry;
    uint32_t ino;
    uint32_t generation;
    uint32_t flags;         /**< EXT4_*_FL */
    uint32_t checksum_seed; /**< of the metadata that belongs to it */
    uint64_t size;          /**< bytes */
    uint64_t xattr_block;   /**< 0: none */
    struct stat attr;
    struct timespec birth;     /**< all zero: not known */
    Ext4Runs *runs;            /**< where its blocks are, as far as known */
    unsigned raw_size;         /**< bytes at raw */
    _Alignas(8) uint8_t raw[]; /**< as on the disk */
} Ext4Inode;

/** A cache of inodes, with what is known of them, with room for @limit bytes. */
Ext4Cache *ext4_inodes_new(size_t limit);

/**
 * The inode @ino in *@inode, a reference. In a coroutine. -EUCLEAN (reported): there is no such
 * inode, or it is damaged.
 */
int ext4_inode_get(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode);

/** The same for one that only the file system itself refers to: the journal, a value. */
int ext4_inode_get_special(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode);

/** What is known of the blocks of @inode takes @bytes now. */
void ext4_inode_grown(Ext4Volume *volume, const Ext4Inode *inode, size_t bytes);

/** NULL is fine. */
void ext4_inode_put(Ext4Inode *inode);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ext4Inode, ext4_inode_put)

/** The 60 bytes of i_block. */
const uint8_t *ext4_inode_block(const Ext4Inode *inode);

#endif /* SLUICE_FS_EXT4_INODE_H */
