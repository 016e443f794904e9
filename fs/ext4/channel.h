/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** How libext2fs reads: from a block node, and what the journal holds instead of it. */
#ifndef SLUICE_FS_EXT4_CHANNEL_H
#define SLUICE_FS_EXT4_CHANNEL_H

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "fs/ext4/overlay.h"

/** What a channel reads from. */
typedef struct Ext4Source {
    BlockNode *node;
    const Ext4Overlay *overlay; /**< may be NULL */
} Ext4Source;

/**
 * Open the file system in @source with libext2fs, for reading. @source is read from only until this
 * returns. ext2fs_free() closes *@fs. Returns a code of libext2fs. Before any worker runs.
 */
errcode_t ext4_channel_open(const Ext4Source *source, ext2_filsys *fs);

#endif /* SLUICE_FS_EXT4_CHANNEL_H */
