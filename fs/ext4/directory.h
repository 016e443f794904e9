/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Names in directories. */
#ifndef SLUICE_FS_EXT4_DIRECTORY_H
#define SLUICE_FS_EXT4_DIRECTORY_H

#include "fs/ext4/buffer.h"
#include "fs/ext4/inode.h"

#define EXT4_NAME_BYTES 256

typedef struct Ext4Entry {
    uint32_t ino;
    uint8_t type;  /**< DT_* */
    uint64_t next; /**< the position behind it */
    char name[EXT4_NAME_BYTES];
} Ext4Entry;

/** A place in a directory; zeroed memory with the position set. */
typedef struct Ext4Cursor {
    uint64_t position; /**< where to go on: 0, or the next of an entry */
    /* private */
    uint64_t logical;
    Ext4Buffer *buffer; /* of block logical; may be NULL */
    size_t inside;      /* where the next entry begins in it */
    unsigned work;      /* since others had their turn */
} Ext4Cursor;

/**
 * The entry at the cursor, which moves behind it; "." and ".." come first. In a coroutine. 1,
 * 0 at the end, or negative errno (-EUCLEAN has been reported; the cursor is behind it).
 */
int ext4_directory_next(Ext4Volume *volume, const Ext4Inode *directory, Ext4Cursor *cursor,
                        Ext4Entry *entry);

void ext4_cursor_clear(Ext4Cursor *cursor);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ext4Cursor, ext4_cursor_clear)

/** The inode number of @name in *@ino. In a coroutine. -ENOENT, or another negative errno. */
int ext4_directory_find(Ext4Volume *volume, const Ext4Inode *directory, const char *name,
                        uint32_t *ino);

/**
 * A block of @directory in *@buffer, a reference. *@buffer is NULL in a hole, of *@hole blocks.
 * -EUCLEAN has been reported.
 */
int ext4_directory_block(Ext4Volume *volume, const Ext4Inode *directory, uint64_t logical,
                         Ext4Buffer **buffer, uint64_t *hole);

/** Look for @name in the @size bytes of entries at @data. 1, 0: not there, or -EUCLEAN. */
int ext4_directory_search(const Ext4Volume *volume, const uint8_t *data, size_t size,
                          const char *name, size_t length, uint32_t *ino);

#endif /* SLUICE_FS_EXT4_DIRECTORY_H */
