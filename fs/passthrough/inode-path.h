/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Descriptors of inodes: used, closed when there are too many, opened again by name.
 *
 * An inode without a file handle remembers the directory and the name where it was last
 * found. As long as it has such a name its descriptor may be closed while nobody uses it.
 */
#ifndef SLUICE_FS_PASSTHROUGH_INODE_PATH_H
#define SLUICE_FS_PASSTHROUGH_INODE_PATH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

typedef struct FsBacking FsBacking;
typedef struct FsHandleName FsHandleName;
typedef struct FsInode FsInode;
typedef struct FsInodeName FsInodeName;
typedef struct FsInodeTable FsInodeTable;
typedef struct FsResolver FsResolver;

#define FS_NAME_SHARDS 64u

/** A part of the names, so that none takes long to grow. */
typedef struct FsNameShard {
    FsInodeName **buckets;
    unsigned bucket_count; /**< a power of two; 0: none yet */
    unsigned count;
} FsNameShard;

/** What belongs to the descriptors of a table's inodes. */
typedef struct FsDescriptors {
    pthread_mutex_t lock; /**< the innermost; of names, and of descriptors that come and go */
    FsResolver *resolver; /**< NULL: names are not remembered, every descriptor stays */
    unsigned budget;      /**< with more descriptors than this some are closed */
    FsNameShard names[FS_NAME_SHARDS];
    FsInode **residents; /**< inodes that have a descriptor */
    unsigned resident_count, resident_room;
    unsigned hand;            /**< the resident to look at next */
    _Atomic bool trimming;    /**< one thread does it; others with many more to close */
    _Atomic unsigned closing; /**< threads that look closely at one, to close it */
    _Atomic uint64_t tried;   /**< how often that was begun */
    _Atomic bool warned;      /**< that a file system has neither handles nor birth times */
    _Atomic uint64_t reopened, closed, stale;
} FsDescriptors;

void fs_descriptors_init(FsDescriptors *open);
void fs_descriptors_fini(FsDescriptors *open);

/**
 * From now on remember names, and close descriptors beyond @budget. Before the root is
 * made. @resolver must outlive the table.
 */
void fs_inodes_limit_descriptors(FsInodeTable *table, FsResolver *resolver, unsigned budget);

/* --- using a descriptor --- */

/** A descriptor (O_PATH) for an operation on an inode. */
typedef struct FsPathFd {
    int fd;        /**< or negative errno */
    bool opened;   /**< for this operation */
    FsInode *held; /**< its descriptor stays open meanwhile */
} FsPathFd;

/**
 * The inode's own descriptor, or one that is opened by its handle, or its own opened again by its
 * name. Caller holds a reference until after fs_path_fd_clear(). Errors: -ESTALE (no longer to be
 * found where it was last seen), -ENFILE, those of opening. As the daemon itself, on any thread.
 */
FsPathFd fs_inode_path(const FsInode *inode);

/** Close what was opened, let go of what was held. */
void fs_path_fd_clear(FsPathFd *path);

/** The inode is open by a client: its descriptor is not closed until fs_inode_unhold(). */
void fs_inode_hold(FsInode *inode);
void fs_inode_unhold(FsInode *inode);

/** The descriptor at this moment, or -1: to look at. */
int fs_inode_descriptor(const FsInode *inode);

/**
 * Close descriptors if there are more than the budget: a few at a time. Waits some milliseconds if
 * there are many more and they are too young. Any thread, with no lock that closing needs.
 */
void fs_inodes_trim(FsInodeTable *table);

/**
 * The process has no descriptor left: close some. Waits some milliseconds at most. False: none
 * could be closed.
 */
bool fs_inodes_make_room(FsInodeTable *table);

/** How long an operation has been without a descriptor; zero at first. */
typedef struct FsRoom {
    int64_t until;
    unsigned tries;
} FsRoom;

/**
 * Whether an attempt that ended with @result, a descriptor or negative errno, is worth another:
 * there were too many descriptors, and some have been closed, by this thread or (at the first try)
 * perhaps by others. Others may have taken them by then.
 */
bool fs_inodes_room_made(FsInodeTable *table, int result, FsRoom *room);

/* --- names --- */

/** @inode, of which the caller holds a reference, was found as @name in @parent. */
void fs_inode_remember_name(FsInode *inode, const FsInode *parent, const char *name);

/**
 * Whether @inode, of which the caller holds a reference, is closed and keeps by its name a
 * directory whose descriptor cannot be closed, since that has no name. Any thread.
 */
bool fs_inode_keeps_pinned(FsInode *inode);

/** An inode whose name is about to change or to go; its descriptor is open until it has. */
typedef struct FsNameHold {
    FsInode *inode; /**< or NULL: none is known by that name */
} FsNameHold;

/**
 * @name in @parent is about to be removed or renamed. Opens the descriptor of the inode last found
 * there. 0, or a negative errno: the change must not be made, the file could be lost.
 */
int fs_name_hold(FsInodeTable *table, const FsInode *parent, const char *name, FsNameHold *hold);

/** Let go; NULL in it is allowed. */
void fs_name_hold_clear(FsNameHold *hold);

/** @name was removed: @hold keeps its descriptor until it is found elsewhere. */
void fs_name_removed(const FsNameHold *hold, const FsInode *parent, const char *name);

/* --- between here and inode.c --- */

/** A new inode, before it is published; @fd -1: it has a handle. */
void fs_inode_path_init(FsInode *inode, int fd);

/** The last reference is gone: its descriptor or -1, and its name's reference on *@parent. */
int fs_inode_path_fini(FsInode *inode, FsInode **parent);

/** Give @fd to an inode without descriptor. False: it has one by now, @fd is the caller's. */
bool fs_inode_reopened(FsInode *inode, int fd);

/** Whether the inode has a descriptor, or was closed with this mark; FS_NO_MARK is nobody's. */
bool fs_inode_is_marked(FsInode *inode, uint64_t mark);

/* --- between inode-path.c and inode-reopen.c --- */

/** Open the descriptor of @inode, which the caller holds. Returns it or negative errno. */
int fs_inode_reopen(FsInode *inode);

/** A reference on @inode, held: its descriptor stays if it has one. Under the lock. */
FsInode *fs_inode_take_locked(FsInode *inode);

/** Drop both; NULL is allowed. Not under the lock. */
void fs_inode_give_back(FsInode *inode);

/* --- inode-mark.c --- */

#define FS_NO_MARK 0

/**
 * What tells the file behind @fd from another one with its number, or FS_NO_MARK. *@young: a file
 * that is made now might have the same. Any thread.
 */
uint64_t fs_inode_mark_of(FsBacking *backing, int fd, bool *young);

/** The mark of a file whose handle is known. */
uint64_t fs_inode_mark_by_handle(const FsHandleName *handle);

/* --- between inode-path.c and inode-name.c, under the lock --- */

struct FsInodeName {
    FsInodeName *next; /**< in the hash chain; once taken out, of those to be freed */
    FsInode *inode;
    FsInode *parent; /**< referenced */
    char text[];
};

/** Take the name of an inode out; it is added to the list *@dropped. */
void fs_inode_drop_name_locked(FsInode *inode, FsInodeName **dropped);

/** Free what was dropped, after the lock was. */
void fs_inode_names_free(FsInodeName *dropped);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FsPathFd, fs_path_fd_clear)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FsNameHold, fs_name_hold_clear)

#endif /* SLUICE_FS_PASSTHROUGH_INODE_PATH_H */
