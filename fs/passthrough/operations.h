/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the operations of the passthrough file system share. Private to fs/passthrough. */
#ifndef SLUICE_FS_PASSTHROUGH_OPERATIONS_H
#define SLUICE_FS_PASSTHROUGH_OPERATIONS_H

#include <errno.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/caller.h"
#include "fs/passthrough/credentials.h"
#include "fs/passthrough/dir-handle.h"
#include "fs/passthrough/handle.h"
#include "fs/passthrough/id-map.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/kernel-io.h"
#include "fs/passthrough/lock.h"
#include "fs/passthrough/passthrough.h"
#include "fs/passthrough/reclaim.h"
#include "fs/passthrough/resolve.h"
#include "fs/passthrough/stale-pages.h"
#include "fs/passthrough/watch.h"
#include "fs/passthrough/xattr-map.h"

/** Work on more than this many bytes is not done on a worker. */
#define FS_HUGE_BYTES      (64 * 1024 * 1024)
#define FS_COPY_INLINE_MAX (64 * 1024)

/** Counters are spread over cache lines by CPU. */
#define FS_COUNTER_SHARDS 16
typedef struct FsPassthroughCounters {
    _Atomic uint64_t reads_inline, reads_ring, writes_inline, writes_ring, lock_waits;
} __attribute__((aligned(64))) FsPassthroughCounters;

struct FsPassthrough {
    FsPassthroughParams params; /**< strings are not kept */
    double attr_timeout, entry_timeout, negative_timeout;
    FsResolver resolver;
    FsCredentials credentials;
    FsBackings backings;
    FsIdMap id_map;
    FsXattrMap *xattr_map; /**< NULL: names are the same */
    FsInodeTable inodes;
    FsHandleTable handles;
    bool unannounced_dirs; /**< OPENDIR is answered with ENOSYS; constant after INIT */
    FsLockTable locks;
    FsKernelIo kernel_io;
    FsReclaim reclaim;
    FsStalePages stale_pages;
    FsWatch *watch;            /**< NULL: the source is not watched */
    AioPoolWork reclaim_work;  /**< while reclaim.running */
    FsInode *root;             /**< referenced */
    FsFileHandle *root_handle; /**< NULL: inodes are never known by handle */
    unsigned plus_inodes;      /**< READDIRPLUS hands out no more descriptors than this */
    unsigned kept_inodes;      /**< from so many descriptors on, inodes are known by handle */
    FsSession *session;        /**< NULL until attached */
    _Atomic bool writeback;    /**< the kernel agreed to collect writes */
    FsPassthroughCounters counters[FS_COUNTER_SHARDS];
};

static inline FsPassthrough *fs_passthrough_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/** This CPU's counters. */
FsPassthroughCounters *fs_passthrough_counters(FsPassthrough *pt);

static inline void fs_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/** How long the kernel may believe what it is told about files of @backing: at most @timeout. */
static inline double fs_timeout(const FsBacking *backing, double timeout)
{
    return atomic_load_explicit(&backing->unwatched, memory_order_relaxed) && timeout > 1 ? 1
                                                                                          : timeout;
}

/**
 * The same for attributes of a file that the kernel knows, in the answer to what changes it: those
 * it takes, although they may be older than a notification.
 */
static inline double fs_changed_timeout(const FsPassthrough *pt, const FsBacking *backing)
{
    return pt->watch ? 0 : fs_timeout(backing, pt->attr_timeout);
}

/* --- lookup.c: entries --- */

/**
 * Look @name up below @parent and count the lookup. *@inode, if not NULL,
 * gets a reference. 0 or negative errno; -ENOENT with an @entry to say so with, for its timeout.
 */
int fs_entry_lookup(FsPassthrough *pt, const FsInode *parent, const char *name,
                    struct fuse_entry_param *entry, FsInode **inode);

/**
 * The same for an O_PATH descriptor, which is consumed. It was found as @name in @parent;
 * @parent NULL: it has no name that is known.
 */
int fs_entry_from_descriptor(FsPassthrough *pt, int fd, const struct statx *stx,
                             const FsInode *parent, const char *name,
                             struct fuse_entry_param *entry, FsInode **inode);

/**
 * @name is about to be removed: keep its file, should its inode be known by handle
 * only and lose its last name by that. Any thread.
 */
void fs_entry_pin(FsPassthrough *pt, int parent_fd, const char *name);

/** What is looked up. */
typedef enum FsLookupFor {
    FS_LOOKUP_ITSELF, /**< a LOOKUP: that there is nothing is an answer */
    FS_LOOKUP_MADE,   /**< for what has just been made */
    FS_LOOKUP_LINKED, /**< for a file that has just got this name, which changed its attributes */
} FsLookupFor;

/**
 * Look @name, a string of the request, up below @parent and answer; on a helper if there is no
 * descriptor left, which then waits a little for the kernel to forget inodes.
 */
void fs_entry_lookup_reply(fuse_req_t req, FsInode *parent, const char *name, FsLookupFor what);

/** Answer with @entry; undo its lookup if the kernel does not take it. */
void fs_entry_reply(fuse_req_t req, FsPassthrough *pt, const struct fuse_entry_param *entry);

/* --- attr.c --- */

void fs_stat_from_statx(struct stat *st, const struct statx *stx);

/** fstat(2) with the inode number to show, and the source's owner. 0 or negative errno. */
int fs_stat(const FsInode *inode, struct stat *st);

/**
 * Drop set-user-id and set-group-id of a regular file as a write by a user
 * without CAP_FSETID does; @spare_root: unless the caller is root. 0 or negative errno.
 */
int fs_drop_set_id(FsPassthrough *pt, const FsInode *inode, const struct fuse_ctx *caller,
                   bool spare_root);

/* --- identity.c --- */

/** From an owner on the source to the one that is shown. */
void fs_show_ids(const FsPassthrough *pt, uid_t *uid, gid_t *gid);

/** Whom to be while creating something for @req. 0, or -EOVERFLOW: nobody of the source. */
int fs_creator(fuse_req_t req, FsIdentity *identity);

/** Whom to be for @caller, also of a request that creates nothing. The same errors. */
int fs_caller_identity(const FsPassthrough *pt, const struct fuse_ctx *caller,
                       FsIdentity *identity);

/* --- namespace.c --- */

/**
 * The mode to create something with in a directory (O_PATH) for a client that asks
 * for @mode: without the bits of its umask, unless a default ACL takes its place.
 */
mode_t fs_creation_mode(fuse_req_t req, int parent_fd, mode_t mode);

/* --- file.c --- */

/** The flags to open the source's file with, for what the client asked for. */
int fs_open_flags(const FsPassthrough *pt, int client_flags);

/**
 * Open a regular file for I/O as fs_open_flags() says; never waits for the
 * holder of a lease unless @may_wait. *@opened_flags, if not NULL: what it was opened
 * with. Descriptor or negative errno (-EWOULDBLOCK: a lease is in the way).
 */
int fs_open_inode(FsPassthrough *pt, const FsInode *inode, int client_flags, bool may_wait,
                  int *opened_flags);

/** Close an inode's last descriptor, on a helper if the file is huge and gone. */
void fs_close_inode_fd(int fd, mode_t type, void *opaque);

/* --- the operations --- */

void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                   struct fuse_file_info *fi);
void fs_op_statx(fuse_req_t req, fuse_ino_t ino, unsigned flags, unsigned mask,
                 struct fuse_file_info *fi);
void fs_op_statfs(fuse_req_t req, fuse_ino_t ino);
void fs_op_access(fuse_req_t req, fuse_ino_t ino, int mask);

void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info *fi);
void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi);
void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                  struct fuse_file_info *fi);
void fs_op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi);
void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                 struct fuse_file_info *fi);
/** FSYNC and FSYNCDIR. */
void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                     struct fuse_file_info *fi);
void fs_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                 struct fuse_file_info *fi);
void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in,
                           struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t offset_out,
                           struct fuse_file_info *fi_out, size_t length, int flags);

void fs_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
                 struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                 size_t out_size);

void fs_op_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                  const char *new_name, unsigned flags);

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                    size_t size, int flags);
void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

void fs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void fs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                 int sleep);
void fs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

#endif /* SLUICE_FS_PASSTHROUGH_OPERATIONS_H */
