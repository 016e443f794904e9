/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inode table: what the kernel has looked up and not yet forgotten.
 *
 * An inode is one O_PATH descriptor, or what it takes to open one again: a file handle, or the
 * name under which the file was last found (inode-path.h). It lives while somebody holds a
 * reference: the kernel (as
 * long as the lookup count is above zero), an open handle, an operation that is
 * running.
 */
#ifndef SLUICE_FS_PASSTHROUGH_INODE_H
#define SLUICE_FS_PASSTHROUGH_INODE_H

#include <sys/stat.h>

#include <glib.h>

#include "fs/passthrough/file-handle.h"
#include "fs/passthrough/inode-path.h"
#include "fs/passthrough/slots.h"

#define FS_INODE_SHARDS  64u
#define FS_INODE_ROOT_ID 1u

typedef struct FsBacking FsBacking;

typedef struct FsInodeKey {
    dev_t dev;
    ino_t ino;
    uint64_t mount_id; /**< of statx; 0 where the kernel does not tell (before 5.8) */
} FsInodeKey;

struct FsInode {
    FsSlot slot;
    FsInodeTable *table;
    uint64_t id;                     /**< node id for the kernel */
    _Atomic uint64_t path;           /**< users << 32 | descriptor + 1; use fs_inode_path() */
    FsFileHandle *handle;            /**< owned; NULL if it began with a descriptor */
    mode_t type;                     /**< S_IFMT bits */
    FsInodeKey key;                  /**< unchanged from publication to release */
    FsBacking *backing;              /**< the file system it is on; not owned */
    _Atomic unsigned cached_handles; /**< open through the kernel's page cache */
    _Atomic bool may_have_pages;     /**< somebody has or had it open that way */
    _Atomic bool late_drop;          /**< of FsStalePages: all pages are to go */
    /* under the inode's lock of FsKernelIo */
    unsigned kernel_handles;     /**< open with kernel passthrough */
    unsigned daemon_handles;     /**< open without */
    int backing_id;              /**< of kernel_handles; 0: none */
    _Atomic bool recent;         /**< its descriptor was used since the hand last passed */
    _Atomic(FsInodeName *) name; /**< owned; changes under the lock of FsDescriptors */
    /* under the lock of FsDescriptors */
    uint32_t changes;       /**< of name, and how often the descriptor was closed */
    uint32_t resident;      /**< its place among those with a descriptor + 1; 0: none */
    uint32_t open_children; /**< inodes with a descriptor whose name is in this one */
    uint64_t mark;          /**< tells the file from another with its number; without descriptor */
    /* under the shard's lock */
    uint64_t lookups;
    struct FsInode *next;        /**< in the hash chain */
    struct timespec cached_time; /**< mtime when the kernel was last told to keep its pages */
    off_t cached_size;           /**< size at that time; negative: never */
};

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
    FsMounts mounts;
    FsDescriptors open;
    FsInodeKey stable_like; /**< stable ids: where files must lie to have one; dev 0: none has */
    _Atomic uint32_t descriptors; /**< inodes that hold one */
    _Atomic uint32_t by_handle;   /**< inodes that began without one */
};

/** What a lookup has found. */
typedef struct FsInodeFound {
    FsInodeKey key;
    int fd; /**< O_PATH, consumed in any case */
    mode_t type;
    FsBacking *backing;         /**< stored in a new inode */
    const FsHandleName *handle; /**< NULL: the file system has none, or nobody needs it */
    const FsInode *parent;      /**< where it was found; NULL: not by a name */
    const char *name;           /**< in parent */
    bool by_handle;             /**< a new inode keeps the handle and not the descriptor */
} FsInodeFound;

/** The key of what fs_resolve_statx() has found. */
FsInodeKey fs_inode_key_of(const struct statx *stx);

bool fs_inode_key_equal(const FsInodeKey *a, const FsInodeKey *b);

/** @close: NULL for close(2). */
void fs_inodes_init(FsInodeTable *table, FsInodeCloseFn *close, void *opaque);

/**
 * From now on a node id is the packed handle (file-handle.h) of a file on the file system and
 * mount of @like, so that it stays valid after it was forgotten. Before the root is made.
 */
void fs_inodes_use_stable_ids(FsInodeTable *table, const FsInodeKey *like);

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

/**
 * The same where files may be known by handle. An inode without a descriptor is
 * the one looked for only if its handle is: numbers of files that are gone are used again.
 */
FsInode *fs_inode_lookup_found(FsInodeTable *table, const FsInodeFound *found);

/**
 * The file that was found is about to lose its last name: if its inode is known by handle
 * only, give it the descriptor, which then keeps the file. Consumes it in any case. Any thread.
 */
void fs_inode_pin(FsInodeTable *table, const FsInodeFound *found);

/**
 * The inode of @found, whose descriptor is not looked at, with a reference, or NULL. One whose
 * descriptor is closed is found by the handle. Counts nothing. Any thread.
 */
FsInode *fs_inode_find(FsInodeTable *table, const FsInodeFound *found);

/** Inodes that hold a descriptor. Any thread. */
static inline uint32_t fs_inode_descriptors(FsInodeTable *table)
{
    return atomic_load_explicit(&table->descriptors, memory_order_relaxed);
}

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
    return inode->id;
}

/** What tells a node id from an earlier use of the same number. */
static inline uint32_t fs_inode_generation(const FsInode *inode)
{
    return inode->id >> 32;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(FsInode, fs_inode_put)

#endif /* SLUICE_FS_PASSTHROUGH_INODE_H */
