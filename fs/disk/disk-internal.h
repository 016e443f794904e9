/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the operations of a disk's directory share. */
#ifndef SLUICE_FS_DISK_DISK_INTERNAL_H
#define SLUICE_FS_DISK_DISK_INTERNAL_H

#include <sys/stat.h>

#include "fs/block/node.h"
#include "fs/disk/disk.h"
#include "fs/disk/tree.h"
#include "fs/session/session.h"

#define DISK_ATTR_TIMEOUT 1.0 /* seconds: the image's times */

struct FsDisk {
    BlockNode *node; /* referenced */
    DiskTree *tree;
    bool one_file;
    struct stat image; /* when it was opened */
    int image_fd;      /* the node's; -1: not known */
    _Atomic(uint64_t) reads, writes, flushes, zeroes;
};

/* What a FUSE request remembers while its node works. */
typedef struct DiskIo {
    BlockRequest block;
    FsRequest *request;
    BlockNode *node;
    size_t length;              /* bytes to answer */
    fuse_ino_t ino;             /* of a change of the size */
    bool emptied;               /* a change of the size after which the kernel must look again */
    bool cutting;               /* LSEEK's search is for a change of the size */
    struct fuse_file_info file; /* to reply to OPEN */
    int whence;                 /* of LSEEK */
    int64_t at;                 /* where LSEEK is looking */
    bool submitting, answered;
} DiskIo;

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

/** The attributes of an entry that exists. */
struct stat disk_stat_of(const FsDisk *disk, uint64_t ino);

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
