/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the operations of a disk's directory share. */
#ifndef SLUICE_FS_DISK_DISK_INTERNAL_H
#define SLUICE_FS_DISK_DISK_INTERNAL_H

#include <pthread.h>
#include <sys/stat.h>

#include "fs/block/node.h"
#include "fs/disk/disk.h"
#include "fs/disk/tree.h"
#include "fs/session/session.h"

#define DISK_ATTR_TIMEOUT   1.0 /* seconds: the image's times and space */
#define DISK_PREFERRED_SIZE 4096

/** What changes whenever something is written to the image. */
typedef struct DiskState {
    uint64_t changes; /* begun by us */
    blkcnt_t blocks;  /* of the image */
    struct timespec ctime;
} DiskState;

/** How much of a file is allocated; for those that it had to be looked for. */
typedef struct DiskSpace {
    bool known;
    DiskState state; /* when it was looked for */
    uint64_t bytes;
} DiskSpace;

struct FsDisk {
    BlockNode *node; /* referenced */
    DiskTree *tree;
    bool one_file;
    struct stat image; /* when it was opened */
    int image_fd;      /* the node's; -1: not known */
    pthread_mutex_t space_lock;
    DiskSpace *space; /* by inode number - 1; under the lock */
    _Atomic(uint64_t) reads, writes, flushes, zeroes;
};

typedef struct DiskIo DiskIo;

/** The attributes of io->ino are known. The request may not be the thread's current one. */
typedef void DiskAttrFn(DiskIo *io, const struct stat *attr);

/* What a FUSE request remembers while its node works. */
struct DiskIo {
    BlockRequest block;
    FsRequest *request;
    BlockNode *node;
    size_t length;  /* bytes to answer */
    fuse_ino_t ino; /* of attributes, or of a change of the size */
    bool emptied;   /* a change of the size after which the kernel must look again */
    bool cutting;   /* LSEEK's search is for a change of the size */
    int whence;     /* of LSEEK */
    int64_t size;   /* to answer to a change of it */
    struct DiskWalk {
        int64_t at; /* where it is looking */
        bool submitting, answered;
        bool (*look)(DiskIo *io);
        void (*end)(DiskIo *io);
    } walk;
    union {
        struct fuse_file_info file; /* to reply to OPEN */
        struct DiskSearch {         /* for attributes */
            DiskAttrFn *found;
            DiskState state;
            uint64_t bytes; /* that are allocated */
            unsigned ranges;
        } search;
    };
};

static inline FsDisk *disk_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline const DiskEntry *disk_file_of(fuse_req_t req, fuse_ino_t ino)
{
    const DiskEntry *entry = disk_tree_get(disk_of(req)->tree, ino);

    return entry != NULL && entry->kind == DISK_FILE ? entry : NULL;
}

/** Scratch room of the current request. */
static inline DiskIo *disk_io_new(BlockNode *node)
{
    FsRequest *request = fs_request_current();
    DiskIo *io = fs_request_scratch(request);

    io->request = request;
    io->node = node;
    return io;
}

static inline DiskIo *disk_io_of(BlockRequest *block)
{
    return aio_container_of(block, DiskIo, block);
}

/**
 * Go through the ranges of io->node from @at on: look() is called for each, with the answer to
 * BLOCK_STATUS in io->block and its place in io->walk.at, and returns whether to go on; end() is
 * called behind the last. One of them answers the request, possibly before this returns.
 */
void disk_walk(DiskIo *io, int64_t at, bool (*look)(DiskIo *io), void (*end)(DiskIo *io));

mode_t disk_mode_of(const FsDisk *disk, const DiskEntry *entry);

/** Find the attributes of @ino, which exists; found() may be called before this returns. */
void disk_find_attr(DiskIo *io, fuse_ino_t ino, DiskAttrFn *found);

void disk_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void disk_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi);
void disk_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                   struct fuse_file_info *fi);

/* What would change the names: EPERM. disk_op_remove() is UNLINK and RMDIR. */
void disk_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void disk_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void disk_op_remove(fuse_req_t req, fuse_ino_t parent, const char *name);
void disk_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void disk_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                    const char *new_name, unsigned int flags);
void disk_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);

#endif /* SLUICE_FS_DISK_DISK_INTERNAL_H */
