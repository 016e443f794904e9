/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * An ext2, ext3 or ext4 file system inside a block node, as a directory: read-only.
 * See docs/design/ext4.md.
 */
#ifndef SLUICE_FS_EXT4_EXT4_H
#define SLUICE_FS_EXT4_EXT4_H

#include "fs/block/node.h"
#include "fs/session/session.h"

typedef struct Ext4Volume Ext4Volume;

typedef struct Ext4Params {
    bool no_recovery; /**< show what is there, without what the journal holds */
    bool acl;         /**< let the kernel check access control lists */
    bool panic;       /**< end the mount when something damaged is found */
    int64_t uid, gid; /**< who owns all files; -1: as stored */
} Ext4Params;

typedef struct Ext4Stats {
    uint64_t buffer_hits, buffer_misses; /**< metadata blocks in memory, or read */
    uint64_t inode_hits, inode_misses;
    uint64_t name_hits, name_misses; /**< names in directories, also absent ones */
    uint64_t cache_bytes;            /**< that all of these take now */
    uint64_t reads;                  /**< READ requests */
    uint64_t read_bytes;             /**< bytes that these were answered with */
    uint64_t damaged;                /**< objects found damaged */
} Ext4Stats;

const FsFilesystem *ext4_filesystem(void);

/**
 * Open the file system in @node, of which a reference is taken. An error tells what is wrong
 * and what to do. Before any worker runs.
 */
Ext4Volume *ext4_open(BlockNode *node, const Ext4Params *params,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The session that serves it. Before any worker runs. */
void ext4_attach_session(Ext4Volume *volume, FsSession *session);

/** Let the kernel read ahead in the mount, which serves, as in the image. Main thread. */
void ext4_read_ahead(const Ext4Volume *volume);

/** No worker runs any more. Main thread. */
void ext4_close(Ext4Volume *volume);

/** Any thread. */
void ext4_get_stats(const Ext4Volume *volume, Ext4Stats *stats);

#endif /* SLUICE_FS_EXT4_EXT4_H */
