/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Names: READLINK, MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME.
 *
 * What is created belongs to the caller (credentials.c). Removing and renaming
 * never enters another mount: the host answers EBUSY or EXDEV from the
 * directory alone.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

void fs_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    char target[PATH_MAX + 1];
    ssize_t length = -1;
    int error = inode ? 0 : ESTALE;
    if (!error) {
        length = readlinkat(inode->fd, "", target, sizeof(target) - 1);
        error = length < 0 ? errno : 0;
    }
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    target[length] = '\0';
    fuse_reply_readlink(req, target);
}

FsIdentity fs_creator(fuse_req_t req)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    FsIdentity identity = {.uid = caller->uid, .gid = caller->gid};
    identity.has_group = fs_request_supplementary_group(fs_request_current(), &identity.group);
    return identity;
}

mode_t fs_creation_mode(fuse_req_t req, const FsInode *parent, mode_t mode)
{
    mode_t mask = fuse_req_ctx(req)->umask & 0777;
    mode &= 07777;
    if (!(mode & mask)) {
        return mode;
    }
    FsProcPath path = fs_resolve_proc_path(parent->fd);
    bool default_acl = getxattr(path.text, "system.posix_acl_default", NULL, 0) > 0;
    return default_acl ? mode : mode & ~mask;
}

/* What MKNOD, MKDIR and SYMLINK make: S_IFDIR, S_IFLNK or mknod's types. */
typedef struct NewNode {
    mode_t mode;
    dev_t rdev;
    const char *target;
} NewNode;

static int make_node(int parent, const char *name, const NewNode *node)
{
    int result;
    if (S_ISDIR(node->mode)) {
        result = mkdirat(parent, name, node->mode & 07777);
    } else if (S_ISLNK(node->mode)) {
        result = symlinkat(node->target, parent, name);
    } else {
        result = mknodat(parent, name, node->mode, node->rdev);
    }
    return result < 0 ? -errno : 0;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent_id, const char *name,
                           const NewNode *node)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    int error = parent ? fs_resolve_check_name(name) : -ESTALE;
    if (!error) {
        FsIdentity creator = fs_creator(req);
        NewNode masked = *node;
        masked.mode = (node->mode & S_IFMT) | fs_creation_mode(req, parent, node->mode);
        FsCredentialsSaved saved;
        error = fs_credentials_enter(&pt->credentials, &creator, &saved);
        if (!error) {
            error = make_node(parent->fd, name, &masked);
            fs_credentials_leave(&pt->credentials, &saved);
        }
    }
    struct fuse_entry_param entry;
    if (!error) {
        error = fs_entry_lookup(pt, parent, name, &entry, NULL);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_reply(req, pt, &entry);
    }
}

void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    NewNode node = {.mode = mode, .rdev = rdev};
    if (S_ISDIR(mode) || S_ISLNK(mode)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    make_and_reply(req, parent, name, &node);
}

void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    NewNode node = {.mode = S_IFDIR | (mode & 07777)};
    make_and_reply(req, parent, name, &node);
}

void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    NewNode node = {.mode = S_IFLNK, .target = target};
    make_and_reply(req, parent, name, &node);
}

void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, new_parent);
    int error = inode && parent ? fs_resolve_check_name(new_name) : -ESTALE;
    if (!error) {
        /* AT_SYMLINK_FOLLOW follows the magic link to the inode, even if that is a symlink */
        FsProcName name = fs_resolve_proc_name(inode->fd);
        if (linkat(pt->resolver.proc_fd, name.text, parent->fd, new_name, AT_SYMLINK_FOLLOW) < 0) {
            error = -errno;
        }
    }
    struct fuse_entry_param entry;
    if (!error) {
        error = fs_entry_lookup(pt, parent, new_name, &entry, NULL);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_reply(req, pt, &entry);
    }
}

static void remove_and_reply(fuse_req_t req, fuse_ino_t parent_id, const char *name, int flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    int error = parent ? fs_resolve_check_name(name) : -ESTALE;
    if (!error && unlinkat(parent->fd, name, flags) < 0) {
        error = -errno;
    }
    fuse_reply_err(req, -error);
}

void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, 0);
}

void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, AT_REMOVEDIR);
}

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                  const char *new_name, unsigned flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) from = fs_inode_get(&pt->inodes, parent);
    g_autoptr(FsInode) to = fs_inode_get(&pt->inodes, new_parent);
    int error = from && to ? fs_resolve_check_name(name) : -ESTALE;
    if (!error) {
        error = fs_resolve_check_name(new_name);
    }
    if (!error && renameat2(from->fd, name, to->fd, new_name, flags) < 0) {
        error = -errno;
    }
    fuse_reply_err(req, -error);
}
