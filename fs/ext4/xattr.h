/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Extended attributes, and the data of small files that is kept among them. */
#ifndef SLUICE_FS_EXT4_XATTR_H
#define SLUICE_FS_EXT4_XATTR_H

#include <sys/types.h>

#include "fs/ext4/inode.h"

/**
 * The value of the attribute @name, access control lists in the form of the system call, in
 * *@value of *@length bytes: g_free() it. In a coroutine. -ENODATA: there is none.
 */
int ext4_xattr_get(Ext4Volume *volume, const Ext4Inode *inode, const char *name, uint8_t **value,
                   size_t *length);

/**
 * Append the names, each with its terminator, to @names. In a coroutine. @trusted: also those
 * that only the administrator sees.
 */
int ext4_xattr_list(Ext4Volume *volume, const Ext4Inode *inode, bool trusted, GString *names);

/**
 * The two parts of what an inode with INLINE_DATA holds: in i_block, and behind the inode's
 * other fields. *@more may be NULL. Valid as long as @inode. -EUCLEAN has been reported.
 */
int ext4_inline_parts(Ext4Volume *volume, const Ext4Inode *inode, const uint8_t **first,
                      size_t *first_length, const uint8_t **more, size_t *more_length);

/** Read from such an inode; @size and @offset lie within its size. Bytes or negative errno. */
ssize_t ext4_inline_read(Ext4Volume *volume, const Ext4Inode *inode, uint8_t *buffer, size_t size,
                         uint64_t offset);

#endif /* SLUICE_FS_EXT4_XATTR_H */
