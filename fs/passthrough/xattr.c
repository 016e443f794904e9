/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Extended attributes.
 *
 * O_PATH descriptors refuse fgetxattr(2) and the like, so the calls go through
 * /proc/self/fd/N. The form that follows links is the right one also for a
 * symbolic link: following the magic link ends at the inode it stands for.
 *
 * Names go through the map (xattr-map.c), if there is one. The kernel has seen to it that only
 * CAP_SYS_ADMIN reads or writes trusted.*, but it does not look at lists: in those, the names are
 * left out here for everybody else, as the source's own file system does.
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
    FsIdentity identity;
    int error = fs_caller_identity(pt, fuse_req_ctx(req), &identity);
    identity.no_fsetid = true;
    return error ? error : fs_credentials_enter(&pt->credentials, &identity, saved);
}

/* What the source calls the attribute. 0 or negative errno. */
static int source_name(const FsPassthrough *pt, const char *name, FsXattrName *source)
{
    if (pt->xattr_map) {
        return fs_xattr_map_to_source(pt->xattr_map, name, source);
    }
    size_t length = strlen(name);
    if (length > XATTR_NAME_MAX) {
        return -ERANGE;
    }
    memcpy(source->text, name, length + 1);
    return 0;
}

/* Whether the value holds ids that differ on the source. */
static bool is_mapped_acl(const FsPassthrough *pt, const char *name)
{
    return (pt->id_map.uids || pt->id_map.gids) &&
           (strcmp(name, FS_XATTR_ACL_ACCESS) == 0 || strcmp(name, FS_XATTR_ACL_DEFAULT) == 0);
}

/* setxattr(2) of an access control list with the source's ids. 0 or negative errno. */
static int set_mapped_acl(const FsPassthrough *pt, const char *path, const char *name,
                          const char *value, size_t size, int flags)
{
    g_autofree char *acl = g_try_malloc(MAX(size, 1));
    if (!acl) {
        return -ENOMEM;
    }
    memcpy(acl, value, size);
    int error = fs_id_map_store_acl(&pt->id_map, acl, size);
    return error < 0 ? error : setxattr(path, name, acl, size, flags) < 0 ? -errno : 0;
}

/* getxattr(2) of an access control list with the ids that are shown. Bytes or negative errno. */
static ssize_t get_mapped_acl(const FsPassthrough *pt, const char *path, const char *name,
                              char *buffer, size_t size)
{
    g_autofree char *acl = g_try_malloc(XATTR_SIZE_MAX);
    if (!acl) {
        return -ENOMEM;
    }
    ssize_t length = getxattr(path, name, acl, XATTR_SIZE_MAX);
    length = length < 0 ? -errno : fs_id_map_show_acl(&pt->id_map, acl, (size_t)length);
    if (length > 0 && size > 0 && (size_t)length > size) {
        return -ERANGE;
    }
    if (length > 0 && size > 0) {
        memcpy(buffer, acl, (size_t)length);
    }
    return length;
}

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                    size_t size, int flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    FsXattrName source;
    g_auto(FsPathFd) at = fs_inode_path(inode);
    FsCredentialsSaved saved = {0};
    int error = at.fd < 0 ? at.fd : source_name(pt, name, &source);
    if (!error && fs_request_acl_kills_sgid(fs_request_current()) &&
        strcmp(name, FS_XATTR_ACL_ACCESS) == 0) {
        error = enter_outside_group(req, pt, &saved);
    }
    if (!error) {
        FsProcPath path = fs_resolve_proc_path(at.fd);
        if (is_mapped_acl(pt, name)) {
            error = set_mapped_acl(pt, path.text, source.text, value, size, flags);
        } else {
            error = setxattr(path.text, source.text, value, size, flags) < 0 ? -errno : 0;
        }
        fs_credentials_leave(&pt->credentials, &saved);
    }
    fuse_reply_err(req, -error);
}

void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    FsXattrName source;
    g_auto(FsPathFd) at = fs_inode_path(inode);
    int error = at.fd < 0 ? at.fd : source_name(pt, name, &source);
    if (!error) {
        FsProcPath path = fs_resolve_proc_path(at.fd);
        error = removexattr(path.text, source.text) < 0 ? -errno : 0;
    }
    fuse_reply_err(req, -error);
}

void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    size = MIN(size, XATTR_SIZE_MAX);
    char small[256];
    g_autofree char *large = size > sizeof(small) ? g_try_malloc(size) : NULL;
    char *buffer = size > sizeof(small) ? large : small;
    if (!buffer) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    FsXattrName source;
    int error = source_name(pt, name, &source);
    if (error == -EPERM || error == -ERANGE) {
        error = -ENODATA; /* denied, or too long: there is no such attribute to see */
    }
    g_auto(FsPathFd) at = fs_inode_path(inode);
    if (error || at.fd < 0) {
        fuse_reply_err(req, at.fd < 0 ? -at.fd : -error);
        return;
    }
    FsProcPath path = fs_resolve_proc_path(at.fd);
    ssize_t length;
    if (is_mapped_acl(pt, name)) {
        length = get_mapped_acl(pt, path.text, source.text, buffer, size);
    } else {
        length = getxattr(path.text, source.text, buffer, size);
        length = length < 0 ? -errno : length;
    }
    if (length < 0) {
        fuse_reply_err(req, (int)-length);
    } else if (size == 0) {
        fuse_reply_xattr(req, (size_t)length);
    } else {
        fuse_reply_buf(req, buffer, (size_t)length);
    }
}

/* Of root in another pid namespace nothing more is known. */
static bool sees_trusted(const struct fuse_ctx *caller)
{
    return caller->pid == 0 ? caller->uid == 0 : fs_caller_is_admin(caller);
}

/* From the source's list in @list to what the caller is shown of it. Returns its new length. */
static size_t translate_list(fuse_req_t req, char *list, size_t length)
{
    const FsXattrMap *map = fs_passthrough_of(req)->xattr_map;
    int trusted = -1; /* not asked yet */
    size_t used = 0;
    for (size_t next, at = 0; at < length; at = next) {
        const char *name = list + at;
        next = at + strnlen(name, length - at) + 1;
        const char *shown = next > length ? NULL : map ? fs_xattr_map_to_client(map, name) : name;
        if (shown && g_str_has_prefix(shown, "trusted.")) {
            trusted = trusted < 0 ? sees_trusted(fuse_req_ctx(req)) : trusted;
            shown = trusted ? shown : NULL;
        }
        if (shown) {
            size_t bytes = strlen(shown) + 1; /* at most those of @name: the list never grows */
            memmove(list + used, shown, bytes);
            used += bytes;
        }
    }
    return used;
}

void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    g_autoptr(FsInode) inode = xattr_inode(req, ino);
    if (!inode) {
        return;
    }
    g_autofree char *list = g_try_malloc(XATTR_LIST_MAX);
    g_auto(FsPathFd) at = fs_inode_path(inode);
    if (!list || at.fd < 0) {
        fuse_reply_err(req, list ? -at.fd : ENOMEM);
        return;
    }
    FsProcPath path = fs_resolve_proc_path(at.fd);
    ssize_t got = listxattr(path.text, list, XATTR_LIST_MAX);
    size_t length = got < 0 ? 0 : translate_list(req, list, (size_t)got);
    if (got < 0) {
        fuse_reply_err(req, errno);
    } else if (size == 0) {
        fuse_reply_xattr(req, length);
    } else if (length > size) {
        fuse_reply_err(req, ERANGE);
    } else {
        fuse_reply_buf(req, list, length);
    }
}
