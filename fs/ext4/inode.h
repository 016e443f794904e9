/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Inodes in memory: decoded once, then constant. */
#ifndef SLUICE_FS_EXT4_INODE_H
#define SLUICE_FS_EXT4_INODE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

#include <glib.h>

#include "fs/ext4/ext4.h"

typedef struct Ext4Inodes Ext4Inodes;

typedef struct Ext4Inode {
    uint32_t ino;
    uint32_t generation;
    uint32_t flags;         /**< EXT4_*_FL */
    uint32_t checksum_seed; /**< of the metadata that belongs to it */
    uint64_t size;          /**< bytes */
    uint64_t xattr_block;   /**< 0: none */
    struct stat attr;
    struct timespec birth; /**< all zero: not known */
    _Atomic(unsigned) references;
    struct Ext4Inode *next, *newer, *older; /* the cache's */
    unsigned raw_size;                      /**< bytes at raw */
    _Alignas(8) uint8_t raw[];              /**< as on the disk */
} Ext4Inode;

/** With room for @limit inodes. */
Ext4Inodes *ext4_inodes_new(unsigned limit);
void ext4_inodes_free(Ext4Inodes *inodes);
void ext4_inodes_count(const Ext4Inodes *inodes, Ext4Stats *stats);

/**
 * The inode @ino in *@inode, a reference. In a coroutine. -EUCLEAN (reported): there is no such
 * inode, or it is damaged.
 */
int ext4_inode_get(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode);

/** The same for one that only the file system itself refers to: the journal, a value. */
int ext4_inode_get_special(Ext4Volume *volume, uint32_t ino, Ext4Inode **inode);

/** NULL is fine. */
void ext4_inode_put(Ext4Inode *inode);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ext4Inode, ext4_inode_put)

/** The 60 bytes of i_block. */
const uint8_t *ext4_inode_block(const Ext4Inode *inode);

#endif /* SLUICE_FS_EXT4_INODE_H */
