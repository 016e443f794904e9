/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inside of an Ext4Volume, for fs/ext4.
 *
 * Constant once open, but for the caches, which have their own locks, and the counters.
 * libext2fs is used while opening; afterwards only its functions without state
 * (checksums, hashes, places of groups), so that nothing needs a lock around it.
 */
#ifndef SLUICE_FS_EXT4_VOLUME_H
#define SLUICE_FS_EXT4_VOLUME_H

#include <assert.h>
#include <stdatomic.h>

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

#include "fs/ext4/buffer.h"
#include "fs/ext4/ext4.h"
#include "fs/ext4/inode.h"
#include "fs/ext4/names.h"
#include "fs/ext4/overlay.h"

/* Structures of the disk are used as they are. */
static_assert(G_BYTE_ORDER == G_LITTLE_ENDIAN, "the disk's byte order");

#define EXT4_ROOT EXT2_ROOT_INO

/** What is not shown, for which reason. */
typedef enum Ext4Refusal {
    EXT4_REFUSED_ENCRYPTED,
    EXT4_REFUSED_CASEFOLD,
    EXT4_REFUSALS,
} Ext4Refusal;

struct Ext4Volume {
    BlockNode *node; /* referenced */
    char *name;
    ext2_filsys fs;
    Ext4Overlay *overlay; /* what the journal holds; NULL: nothing */
    unsigned block_size, block_bits;
    uint64_t first_block, blocks; /* blocks [first_block, blocks) exist */
    uint32_t inodes, first_inode; /* inodes [first_inode, inodes] and the root are files */
    bool checksums;               /* metadata_csum */
    bool acl;                     /* access control lists are the kernel's to check */
    int64_t uid, gid;             /* who owns all files; -1: as stored */
    bool announced_opendir;       /* the kernel wants an answer to every OPENDIR; set by INIT */
    struct statvfs usage;
    Ext4Cache *buffers, *inodes_cache, *names;
    _Atomic(uint64_t) reads, read_bytes, damaged;
    _Atomic(bool) refused[EXT4_REFUSALS]; /* that has been said */
    FsSession *session;
    bool panic;                     /* the session ends at the first damage */
    _Atomic(int64_t) report_second; /* of the latest lines in the log, ... */
    _Atomic(unsigned) report_count; /* ... and how many there were in it */
};

/**
 * Something is damaged: a line in the log (not too many a second) that names the inode.
 * Returns -EUCLEAN. Any thread.
 */
int ext4_damaged(Ext4Volume *volume, uint32_t ino, const char *format, ...) G_GNUC_PRINTF(3, 4);

/** Something cannot be shown: the reason is said once. Its negative errno. Any thread. */
int ext4_refused(Ext4Volume *volume, const Ext4Inode *inode, Ext4Refusal refusal);

/** Whether blocks [block, block + count) are in the file system and can hold something. */
static inline bool ext4_has_blocks(const Ext4Volume *volume, uint64_t block, uint64_t count)
{
    return block > volume->first_block && block < volume->blocks && count <= volume->blocks - block;
}

#endif /* SLUICE_FS_EXT4_VOLUME_H */
