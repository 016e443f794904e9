/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inode table: what the kernel has looked up and not yet forgotten.
 *
 * An inode is one O_PATH descriptor. It lives while somebody holds a
 * reference: the kernel (as long as the lookup count is above zero), an open
 * handle, an operation that is running.
 */
#ifndef SLUICE_FS_PASSTHROUGH_INODE_H
#define SLUICE_FS_PASSTHROUGH_INODE_H

#include <sys/stat.h>

#include <glib.h>

#include "fs/passthrough/slots.h"

#define FS_INODE_SHARDS  64u
#define FS_INODE_ROOT_ID 1u

typedef struct FsInodeTable FsInodeTable;
typedef struct FsBacking FsBacking;

typedef struct FsInodeKey {
    dev_t dev;
    ino_t ino;
    uint64_t mount_id; /**< of statx; 0 where the kernel does not tell (before 5.8) */
} FsInodeKey;

typedef struct FsInode {
    FsSlot slot;
    FsInodeTable *table;
    int fd;                          /**< O_PATH */
    mode_t type;                     /**< S_IFMT bits */
    FsInodeKey key;                  /**< unchanged from publication to release */
    FsBacking *backing;              /**< the file system it is on; not owned */
    _Atomic unsigned cached_handles; /**< open through the kernel's page cache */
    _Atomic bool may_have_pages;     /**< somebody has or had it open that way */
    /* under the shard's lock */
    uint64_t lookups;
    struct FsInode *next;        /**< in the hash chain */
    struct timespec cached_time; /**< mtime when the kernel was last told to keep its pages */
    off_t cached_size;           /**< size at that time; negative: never */
} FsInode;

/** Called when an inode goes, with its descriptor: to be closed. Any thread. */
typedef void FsInodeCloseFn(int fd, mode_t type, void *opaque);

typedef struct FsInodeShard {
    pthread_mutex_t lock;
    FsInode **buckets;
    unsigned bucket_count; /**< a power of two */
    unsigned count;
} FsInodeShard;

struct FsInodeTable {
    FsSlotTable slots;
    FsInodeShard shards[FS_INODE_SHARDS];
    FsInodeCloseFn *close;
    void *opaque;
};

/** @close: NULL for close(2). */
void fs_inodes_init(FsInodeTable *table, FsInodeCloseFn *close, void *opaque);

/** Close every inode that is left, also the root. Nobody else may use the table. */
void fs_inodes_fini(FsInodeTable *table);

/**
 * Find the inode of @key or make it from @fd, and count one lookup.
 *
 * @fd: O_PATH descriptor of the inode, consumed in any case
 * @backing: stored in a new inode
 * Returns the inode with a reference for the caller (fs_inode_put()), or NULL
 * when memory is short. The first call makes the root, FS_INODE_ROOT_ID. Any thread.
 */
FsInode *fs_inode_lookup(FsInodeTable *table, const FsInodeKey *key, int fd, mode_t type,
                         FsBacking *backing);

/** Take a reference on the inode with this node id, or NULL. Any thread. */
FsInode *fs_inode_get(FsInodeTable *table, uint64_t id);

/** One more reference for a holder of one. */
FsInode *fs_inode_ref(FsInode *inode);

/** Drop a reference; NULL is allowed. Any thread. */
void fs_inode_put(FsInode *inode);

/**
 * Undo @count lookups. Returns false, and undoes as many as there were, if
 * that is fewer; also false for an unknown @id. The root ignores it. Any thread.
 */
bool fs_inode_forget(FsInodeTable *table, uint64_t id, uint64_t count);

/**
 * Remember size and mtime of a file at open. Returns whether they are those of
 * the last call: the kernel may keep the pages it has.
 */
bool fs_inode_pages_valid(FsInode *inode, const struct stat *st);

/** The current lookup count, for tests. */
uint64_t fs_inode_lookups(FsInode *inode);

static inline uint64_t fs_inode_id(const FsInode *inode)
{
    return fs_slot_id(&inode->slot);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(FsInode, fs_inode_put)

#endif /* SLUICE_FS_PASSTHROUGH_INODE_H */
