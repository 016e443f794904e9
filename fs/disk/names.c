/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What would change the names of a disk: not permitted. Without an operation the kernel would
 * answer ENOSYS, "Function not implemented", to who copies to a partition that is not there.
 */
#include <errno.h>

#include "fs/disk/disk-internal.h"

void disk_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    fuse_reply_err(req, EPERM);
}

void disk_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    fuse_reply_err(req, EPERM);
}

void disk_op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, EPERM);
}

void disk_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, EPERM);
}

void disk_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                    const char *new_name, unsigned int flags)
{
    fuse_reply_err(req, EPERM);
}

void disk_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    fuse_reply_err(req, EPERM);
}
