/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Extended attributes.
 *
 * O_PATH descriptors refuse fgetxattr(2) and the like, so the calls go through
 * /proc/self/fd/N. The form that follows links is the right one also for a
 * symbolic link: following the magic link ends at the inode it stands for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <linux/limits.h>

#include "fs/passthrough/operations.h"

/* The inode, or NULL after having answered. */
static FsInode *xattr_inode(fuse_req_t req, fuse_ino_t ino)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (!pt->params.xattr) {
        fuse_reply_err(req, ENOSYS); /* the kernel asks no more and says EOPNOTSUPP */
        return NULL;
    }
    FsInode *inode = fs_inode_get(&pt->inodes, ino);
    if (!inode) {
        fuse_reply_err(req, ESTALE);
    }
    return inode;
}

/* The caller is not in the file's group: the store drops set-group-id if we are not either. */
static int enter_outside_group(fuse_req_t req, FsPassthrough *pt, FsCredentialsSaved *saved)
{
    FsIdentity identity = {.no_fsetid = true};
    fs_caller_ids(fuse_req_ctx(req), &identity.uid, &identity.gid);
    return fs_credentials_enter(&pt->credentials, &identity, saved);
}

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                    size_t size, int flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    g_auto(FsPathFd) at = fs_inode_path(inode);
    FsCredentialsSaved saved = {0};
    int error = MIN(at.fd, 0);
    if (!error && fs_request_acl_kills_sgid(fs_request_current()) &&
        strcmp(name, "system.posix_acl_access") == 0) {
        error = enter_outside_group(req, pt, &saved);
    }
    if (!error) {
        FsProcPath path = fs_resolve_proc_path(at.fd);
        error = setxattr(path.text, name, value, size, flags) < 0 ? -errno : 0;
        fs_credentials_leave(&pt->credentials, &saved);
    }
    fuse_reply_err(req, -error);
}

void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    g_auto(FsPathFd) at = fs_inode_path(inode);
    FsProcPath path = fs_resolve_proc_path(at.fd);
    fuse_reply_err(req, at.fd < 0 ? -at.fd : removexattr(path.text, name) < 0 ? errno : 0);
}

/* A value (@name) or the list of names (NULL): its length for @size 0, else itself. */
static void get_and_reply(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    size = MIN(size, MAX(XATTR_SIZE_MAX, XATTR_LIST_MAX));
    char small[256];
    g_autofree char *large = size > sizeof(small) ? g_try_malloc(size) : NULL;
    char *buffer = size > sizeof(small) ? large : small;
    if (!buffer) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    g_auto(FsPathFd) at = fs_inode_path(inode);
    if (at.fd < 0) {
        fuse_reply_err(req, -at.fd);
        return;
    }
    FsProcPath path = fs_resolve_proc_path(at.fd);
    ssize_t length =
        name ? getxattr(path.text, name, buffer, size) : listxattr(path.text, buffer, size);
    if (length < 0) {
        fuse_reply_err(req, errno);
    } else if (size == 0) {
        fuse_reply_xattr(req, (size_t)length);
    } else {
        fuse_reply_buf(req, buffer, (size_t)length);
    }
}

void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    get_and_reply(req, ino, name, size);
}

void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    get_and_reply(req, ino, NULL, size);
}
