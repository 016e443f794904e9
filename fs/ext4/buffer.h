/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Blocks of metadata in memory.
 *
 * A block is kept as what it was read for: its kind, and the inode that it belongs to. It was
 * checked as that when it was read and is not checked again; the same block wanted as something
 * else, which happens in damaged file systems only, is another buffer.
 *
 * Buffers never change. A reader holds a reference; the cache lets go of the one that was not
 * used for the longest time.
 */
#ifndef SLUICE_FS_EXT4_BUFFER_H
#define SLUICE_FS_EXT4_BUFFER_H

#include <stdint.h>

#include <glib.h>

#include "fs/ext4/cache.h"
#include "fs/ext4/ext4.h"

typedef struct Ext4Inode Ext4Inode;

typedef enum Ext4BlockKind {
    EXT4_BLOCK_INODES,
    EXT4_BLOCK_EXTENTS,
    EXT4_BLOCK_POINTERS,
    EXT4_BLOCK_DIRECTORY,
    EXT4_BLOCK_XATTRS,
} Ext4BlockKind;

typedef struct Ext4Buffer {
    Ext4CacheEntry entry;
    uint64_t block;
    uint32_t owner; /* inode number, 0: none */
    Ext4BlockKind kind;
    _Alignas(16) uint8_t data[];
} Ext4Buffer;

/** Whether @data is what @kind should be. @owner: NULL for INODES. */
typedef bool Ext4CheckFn(const Ext4Volume *volume, const Ext4Inode *owner, uint64_t block,
                         const uint8_t *data);

/** A cache of buffers with room for @limit bytes. */
Ext4Cache *ext4_buffers_new(size_t limit);

/**
 * The block @block in *@buffer, a reference. On a miss up to @ahead blocks from there are read
 * at once and kept, which are known to be of the same kind.
 *
 * In a coroutine. -EUCLEAN: @check (may be NULL) refused it, which the caller reports.
 */
int ext4_buffer_get(Ext4Volume *volume, Ext4BlockKind kind, const Ext4Inode *owner, uint64_t block,
                    unsigned ahead, Ext4CheckFn *check, Ext4Buffer **buffer);

/** NULL is fine. */
void ext4_buffer_put(Ext4Buffer *buffer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Ext4Buffer, ext4_buffer_put)

#endif /* SLUICE_FS_EXT4_BUFFER_H */
