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
        g_auto(FsPathFd) path = fs_inode_path(inode);
        length = path.fd < 0 ? -1 : readlinkat(path.fd, "", target, sizeof(target) - 1);
        error = path.fd < 0 ? -path.fd : length < 0 ? errno : 0;
    }
    if (error) {
        fuse_reply_err(req, error);
        return;
    }
    target[length] = '\0';
    fuse_reply_readlink(req, target);
}

mode_t fs_creation_mode(fuse_req_t req, int parent_fd, mode_t mode)
{
    mode_t mask = fuse_req_ctx(req)->umask & 0777;
    mode &= 07777;
    if (!(mode & mask)) {
        return mode;
    }
    FsProcPath path = fs_resolve_proc_path(parent_fd);
    bool default_acl = getxattr(path.text, FS_XATTR_ACL_DEFAULT, NULL, 0) > 0;
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

static int make_as_caller(fuse_req_t req, const FsInode *parent, const char *name,
                          const NewNode *node)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_auto(FsPathFd) path = fs_inode_path(parent);
    if (path.fd < 0) {
        return path.fd;
    }
    FsIdentity creator;
    int error = fs_creator(req, &creator);
    if (error) {
        return error;
    }
    NewNode masked = *node;
    masked.mode = (node->mode & S_IFMT) | fs_creation_mode(req, path.fd, node->mode);
    FsCredentialsSaved saved;
    error = fs_credentials_enter(&pt->credentials, &creator, &saved);
    if (!error) {
        error = make_node(path.fd, name, &masked);
        fs_credentials_leave(&pt->credentials, &saved);
    }
    return error;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent_id, const char *name,
                           const NewNode *node)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    int error = parent ? fs_resolve_check_name(name) : -ESTALE;
    if (!error) {
        error = make_as_caller(req, parent, name, node);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_lookup_reply(req, parent, name, FS_LOOKUP_MADE);
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

static int make_link(FsPassthrough *pt, const FsInode *inode, const FsInode *parent,
                     const char *new_name)
{
    g_auto(FsPathFd) from = fs_inode_path(inode);
    g_auto(FsPathFd) to = fs_inode_path(parent);
    if (from.fd < 0 || to.fd < 0) {
        return from.fd < 0 ? from.fd : to.fd;
    }
    /* AT_SYMLINK_FOLLOW follows the magic link to the inode, even if that is a symlink */
    FsProcName name = fs_resolve_proc_name(from.fd);
    int result = linkat(pt->resolver.proc_fd, name.text, to.fd, new_name, AT_SYMLINK_FOLLOW);
    return result < 0 ? -errno : 0;
}

void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, new_parent);
    int error = inode && parent ? fs_resolve_check_name(new_name) : -ESTALE;
    if (!error) {
        error = make_link(pt, inode, parent, new_name);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_lookup_reply(req, parent, new_name, FS_LOOKUP_LINKED);
    }
}

static int remove_entry(FsPassthrough *pt, const FsInode *parent, const char *name, int flags)
{
    g_auto(FsPathFd) path = fs_inode_path(parent);
    if (path.fd < 0) {
        return path.fd;
    }
    g_auto(FsNameHold) file = {NULL};
    int error = fs_name_hold(&pt->inodes, parent, name, &file);
    if (error) {
        return error;
    }
    fs_entry_pin(pt, path.fd, name);
    if (unlinkat(path.fd, name, flags) < 0) {
        return -errno;
    }
    fs_name_removed(&file, parent, name);
    return 0;
}

static void remove_and_reply(fuse_req_t req, fuse_ino_t parent_id, const char *name, int flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    int error = parent ? fs_resolve_check_name(name) : -ESTALE;
    if (!error) {
        error = remove_entry(pt, parent, name, flags);
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

static int rename_entry(FsPassthrough *pt, const FsInode *from, const char *name, const FsInode *to,
                        const char *new_name, unsigned flags)
{
    g_auto(FsPathFd) from_path = fs_inode_path(from);
    g_auto(FsPathFd) to_path = fs_inode_path(to);
    if (from_path.fd < 0 || to_path.fd < 0) {
        return from_path.fd < 0 ? from_path.fd : to_path.fd;
    }
    g_auto(FsNameHold) file = {NULL};
    g_auto(FsNameHold) target = {NULL};
    int error = fs_name_hold(&pt->inodes, from, name, &file);
    if (!error) {
        error = fs_name_hold(&pt->inodes, to, new_name, &target);
    }
    if (error) {
        return error;
    }
    if (!(flags & (RENAME_NOREPLACE | RENAME_EXCHANGE))) {
        fs_entry_pin(pt, to_path.fd, new_name);
    }
    if (renameat2(from_path.fd, name, to_path.fd, new_name, flags) < 0) {
        return -errno;
    }
    fs_name_removed(&file, from, name);
    fs_name_removed(&target, to, new_name);
    if (file.inode) {
        fs_inode_remember_name(file.inode, to, new_name);
    }
    if (target.inode && (flags & RENAME_EXCHANGE)) {
        fs_inode_remember_name(target.inode, from, name);
    }
    return 0;
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
    if (!error) {
        error = rename_entry(pt, from, name, to, new_name, flags);
    }
    fuse_reply_err(req, -error);
}
