/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Attributes: GETATTR, SETATTR, STATX, STATFS, ACCESS. */
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

void fs_stat_from_statx(struct stat *st, const struct statx *stx)
{
    memset(st, 0, sizeof(*st));
    st->st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
    st->st_ino = stx->stx_ino;
    st->st_mode = stx->stx_mode;
    st->st_nlink = stx->stx_nlink;
    st->st_uid = stx->stx_uid;
    st->st_gid = stx->stx_gid;
    st->st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
    st->st_size = (off_t)stx->stx_size;
    st->st_blksize = stx->stx_blksize;
    st->st_blocks = (blkcnt_t)stx->stx_blocks;
    st->st_atim = (struct timespec){stx->stx_atime.tv_sec, stx->stx_atime.tv_nsec};
    st->st_mtim = (struct timespec){stx->stx_mtime.tv_sec, stx->stx_mtime.tv_nsec};
    st->st_ctim = (struct timespec){stx->stx_ctime.tv_sec, stx->stx_ctime.tv_nsec};
}

int fs_stat(const FsInode *inode, struct stat *st)
{
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0 || fstat(path.fd, st) < 0) {
        return path.fd < 0 ? path.fd : -errno;
    }
    st->st_ino = fs_backing_shown_ino(inode->backing, st->st_ino);
    return 0;
}

void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    struct stat st;
    int error = inode ? fs_stat(inode, &st) : -ESTALE;
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_show_ids(pt, &st.st_uid, &st.st_gid);
        fuse_reply_attr(req, &st, fs_timeout(inode->backing, pt->attr_timeout));
    }
}

void fs_op_statx(fuse_req_t req, fuse_ino_t ino, unsigned flags, unsigned mask,
                 struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    if (!inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    struct statx stx;
    int how = AT_EMPTY_PATH | (int)(flags & AT_STATX_SYNC_TYPE);
    unsigned wanted = (mask & ~(unsigned)STATX__RESERVED) | STATX_BASIC_STATS;
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0 || statx(path.fd, "", how, wanted, &stx) < 0) {
        fuse_reply_err(req, path.fd < 0 ? -path.fd : errno);
        return;
    }
    stx.stx_ino = fs_backing_shown_ino(inode->backing, stx.stx_ino);
    fs_show_ids(pt, &stx.stx_uid, &stx.stx_gid);
    fs_reply_statx(req, &stx, fs_timeout(inode->backing, pt->attr_timeout));
}

static int change_mode(FsPassthrough *pt, const FsInode *inode, mode_t mode)
{
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        return path.fd;
    }
    FsProcName name = fs_resolve_proc_name(path.fd);
    return fchmodat(pt->resolver.proc_fd, name.text, mode, 0) < 0 ? -errno : 0;
}

int fs_drop_set_id(FsPassthrough *pt, const FsInode *inode, const struct fuse_ctx *caller,
                   bool spare_root)
{
    struct stat st;
    int error = fs_stat(inode, &st);
    if (error) {
        return error;
    }
    if (!S_ISREG(st.st_mode) || !(st.st_mode & (S_ISUID | S_ISGID))) {
        return 0;
    }
    const bool is_root = fs_caller_is_root(caller);
    if (spare_root && is_root) {
        return 0;
    }
    mode_t drop = S_ISUID;
    if ((st.st_mode & S_IXGRP) ||
        (!is_root && !fs_caller_in_group(caller, fs_id_map_show_gid(&pt->id_map, st.st_gid)))) {
        drop |= S_ISGID; /* without S_IXGRP members of the group keep it */
    }
    if (!(st.st_mode & drop)) {
        return 0;
    }
    error = change_mode(pt, inode, st.st_mode & 07777 & ~drop);
    if (!error && pt->session) {
        /* the answer to a WRITE tells the kernel nothing about the mode */
        fuse_lowlevel_notify_inval_inode(fs_session_fuse(pt->session), fs_inode_id(inode), -1, 0);
    }
    return error;
}

/* What a SETATTR carries, so that it can also run on a helper thread. */
typedef struct SetAttr {
    FsPassthrough *pt;
    FsInode *inode;   /* referenced */
    FsHandle *handle; /* referenced, or NULL */
    int size_fd;      /* to truncate through: owned, or SIZE_FD_ */
    struct stat attr;
    int to_set;
    struct fuse_ctx caller;
    bool kill_set_id;
} SetAttr;

enum {
    SIZE_FD_MUST_WAIT = -2, /* a lease is in the way: open it on a helper */
    SIZE_FD_OF_HANDLE = -1,
};

static int change_owner(const SetAttr *set)
{
    const FsIdMap *map = &set->pt->id_map;
    const bool sets_uid = set->to_set & FUSE_SET_ATTR_UID,
               sets_gid = set->to_set & FUSE_SET_ATTR_GID;
    uid_t uid = sets_uid ? fs_id_map_store_uid(map, set->attr.st_uid) : (uid_t)-1;
    gid_t gid = sets_gid ? fs_id_map_store_gid(map, set->attr.st_gid) : (gid_t)-1;
    if ((sets_uid && uid == FS_ID_NONE) || (sets_gid && gid == FS_ID_NONE)) {
        return -EOVERFLOW;
    }
    g_auto(FsPathFd) path = fs_inode_path(set->inode);
    if (path.fd < 0) {
        return path.fd;
    }
    return fchownat(path.fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int change_size(const SetAttr *set)
{
    int fd = set->size_fd;
    if (fd == SIZE_FD_MUST_WAIT) {
        fd = fs_open_inode(set->pt, set->inode, O_WRONLY, true, NULL);
    } else if (fd == SIZE_FD_OF_HANDLE) {
        fd = set->handle->fd;
    }
    if (fd < 0) {
        return fd;
    }
    int error = ftruncate(fd, set->attr.st_size) < 0 ? -errno : 0;
    if (set->size_fd == SIZE_FD_MUST_WAIT) {
        close(fd);
    }
    return error;
}

static struct timespec time_to_set(int to_set, int value_bit, int now_bit, struct timespec value)
{
    if (to_set & now_bit) {
        return (struct timespec){.tv_nsec = UTIME_NOW};
    }
    if (to_set & value_bit) {
        return value;
    }
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_times(const SetAttr *set)
{
    struct timespec times[2] = {
        time_to_set(set->to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, set->attr.st_atim),
        time_to_set(set->to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, set->attr.st_mtim),
    };
    g_auto(FsPathFd) path = fs_inode_path(set->inode);
    if (path.fd < 0) {
        return path.fd;
    }
    FsProcName name = fs_resolve_proc_name(path.fd);
    return utimensat(set->pt->resolver.proc_fd, name.text, times, 0) < 0 ? -errno : 0;
}

/* A ctime alone (FUSE_SET_ATTR_CTIME under writeback) cannot be set; the source has its own. */
static int set_attributes(const SetAttr *set)
{
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                      FUSE_SET_ATTR_MTIME_NOW;
    int error = 0;
    if (set->to_set & FUSE_SET_ATTR_MODE) {
        error = change_mode(set->pt, set->inode, set->attr.st_mode & 07777);
    }
    if (!error && (set->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))) {
        error = change_owner(set);
    }
    if (!error && (set->to_set & FUSE_SET_ATTR_SIZE)) {
        error = change_size(set);
    }
    if (!error && set->kill_set_id) {
        error = fs_drop_set_id(set->pt, set->inode, &set->caller, false);
    }
    if (!error && (set->to_set & times)) {
        error = change_times(set);
    }
    return error;
}

static void set_attributes_and_reply(fuse_req_t req, const SetAttr *set)
{
    struct stat st;
    int error = set_attributes(set);
    if (!error) {
        error = fs_stat(set->inode, &st);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_show_ids(set->pt, &st.st_uid, &st.st_gid);
        fuse_reply_attr(req, &st, fs_changed_timeout(set->pt, set->inode->backing));
    }
}

static void set_attr_clear(SetAttr *set)
{
    if (set->size_fd >= 0) {
        close(set->size_fd);
    }
    fs_handle_put(set->handle);
    fs_inode_put(set->inode);
}

static void set_attributes_on_helper(FsRequest *request, void *opaque)
{
    SetAttr *set = opaque;
    set_attributes_and_reply(fs_request_fuse(request), set);
    set_attr_clear(set);
    g_free(set);
}

/* Whether the change frees so much that a worker would be busy for too long. */
static bool shrinks_huge(const SetAttr *set)
{
    struct stat st;
    return (set->to_set & FUSE_SET_ATTR_SIZE) && fs_stat(set->inode, &st) == 0 &&
           st.st_size > set->attr.st_size && (int64_t)st.st_blocks * 512 > FS_HUGE_BYTES;
}

/* Find what to truncate through, without waiting. 0 or negative errno. */
static int prepare_size_fd(SetAttr *set)
{
    if (set->handle && (set->handle->flags & O_ACCMODE) != O_RDONLY) {
        return 0;
    }
    int fd = fs_open_inode(set->pt, set->inode, O_WRONLY, false, NULL);
    if (fd < 0 && fd != -EWOULDBLOCK) {
        return fd;
    }
    set->size_fd = fd >= 0 ? fd : SIZE_FD_MUST_WAIT;
    return 0;
}

void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                   struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    SetAttr set = {
        .pt = pt,
        .inode = fs_inode_get(&pt->inodes, ino),
        .handle = fi ? fs_handle_get(&pt->handles, fi->fh) : NULL,
        .size_fd = SIZE_FD_OF_HANDLE,
        .attr = *attr,
        .to_set = to_set,
        .caller = *fuse_req_ctx(req),
        /* a change of owner does it on the host */
        .kill_set_id = fs_request_kills_suidgid(request) &&
                       !(to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)),
    };
    int error = 0;
    if (!set.inode || (fi && !set.handle)) {
        error = set.inode ? -EBADF : -ESTALE;
    } else if (to_set & FUSE_SET_ATTR_SIZE) {
        error = prepare_size_fd(&set);
    }
    if (error) {
        fuse_reply_err(req, -error);
    } else if (set.size_fd == SIZE_FD_MUST_WAIT || shrinks_huge(&set)) {
        SetAttr *copy = g_new(SetAttr, 1);
        *copy = set;
        fs_request_offload(request, fs_session_pool(fs_request_session(request)),
                           set_attributes_on_helper, copy);
        return;
    } else {
        set_attributes_and_reply(req, &set);
    }
    set_attr_clear(&set);
}

void fs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino ? ino : FS_INODE_ROOT_ID);
    struct statvfs st;
    if (!inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0 || fstatvfs(path.fd, &st) < 0) {
        fuse_reply_err(req, path.fd < 0 ? -path.fd : errno);
    } else {
        fuse_reply_statfs(req, &st);
    }
}

/* Only called without default_permissions: what the daemon itself may do. */
void fs_op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    if (!inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        fuse_reply_err(req, -path.fd);
        return;
    }
    FsProcName name = fs_resolve_proc_name(path.fd);
    int result = faccessat(pt->resolver.proc_fd, name.text, mask, AT_EACCESS);
    fuse_reply_err(req, result < 0 ? errno : 0);
}
