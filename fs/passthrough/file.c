/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Opening and closing files: OPEN, FLUSH, RELEASE, and what CREATE shares with OPEN (open-call.h).
 *
 * How it works: all ways to open go through fs_open_flags(), and what
 * exists already is opened by its inode, never by its name. An open can wait
 * for another process that holds a lease, so a worker tries with O_NONBLOCK
 * and hands the request to a helper if that is refused; so it does if there is no
 * descriptor left, since only a helper may wait for the kernel to forget inodes.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/passthrough/open-call.h"

#define FOPEN_PARALLEL_DIRECT_WRITES (1u << 6) /* Linux 6.2 */

int fs_open_flags(const FsPassthrough *pt, int client_flags)
{
    int flags = client_flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME);
    flags |= pt->params.noatime ? O_NOATIME : 0;
    if ((flags & O_ACCMODE) == O_WRONLY &&
        atomic_load_explicit(&pt->writeback, memory_order_relaxed)) {
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    }
    return flags;
}

int fs_open_path(FsPassthrough *pt, int path_fd, int flags)
{
    int fd = fs_resolve_reopen(&pt->resolver, path_fd, flags);
    if (fd >= 0 && (flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags & (O_NOATIME | O_APPEND)) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int open_once(FsPassthrough *pt, const FsInode *inode, int flags)
{
    g_auto(FsPathFd) path = fs_inode_path(inode);
    int fd;
    FsRoom room = {0};
    do {
        fd = path.fd < 0 ? path.fd : fs_open_path(pt, path.fd, flags);
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    return fd;
}

int fs_open_inode(FsPassthrough *pt, const FsInode *inode, int client_flags, bool may_wait,
                  int *opened_flags)
{
    if (inode->type != S_IFREG) {
        return inode->type == S_IFDIR ? -EISDIR : -ENXIO;
    }
    int flags = fs_open_flags(pt, client_flags);
    int nonblock = may_wait ? 0 : O_NONBLOCK;
    int fd = open_once(pt, inode, flags | nonblock);
    if (fd == -EPERM && (flags & O_NOATIME)) {
        flags &= ~O_NOATIME; /* only the owner may */
        fd = open_once(pt, inode, flags | nonblock);
    }
    if (fd == -EPERM && (client_flags & O_APPEND)) {
        flags |= O_APPEND; /* chattr +a: no other way to write */
        fd = open_once(pt, inode, flags | nonblock);
    }
    if ((fd == -EACCES || fd == -EPERM) && (client_flags & O_ACCMODE) == O_WRONLY &&
        (flags & O_ACCMODE) == O_RDWR) {
        flags = (flags & ~O_ACCMODE) | O_WRONLY; /* may be written but not read */
        fd = open_once(pt, inode, flags | nonblock);
    }
    if (fd >= 0 && opened_flags) {
        *opened_flags = flags & ~O_TRUNC;
    }
    return fd;
}

/* How the kernel shall treat the open file. */
static void choose_caching(FsPassthrough *pt, FsRequest *request, FsHandle *handle,
                           struct fuse_file_info *fi)
{
    FsInode *inode = handle->inode;
    struct stat st;
    bool withheld = false;
    int backing_id = 0;
    fi->noflush = inode->backing->local && pt->params.locks == FS_PASSTHROUGH_LOCKS_LOCAL;
    if (fs_kernel_io_is_on(&pt->kernel_io)) {
        backing_id = fs_kernel_io_enter(&pt->kernel_io, handle, fi->flags, &withheld);
    }
    if (backing_id) {
        fs_request_set_backing_id(request, backing_id);
        fi->direct_io = withheld;
        return;
    }
    /* pages of an append-only file could not be written back to where they belong */
    fi->direct_io = pt->params.cache == FS_PASSTHROUGH_CACHE_NONE || (fi->flags & O_DIRECT) ||
                    (handle->flags & O_APPEND);
    if (fi->direct_io) {
        fs_request_set_open_flags(request, FOPEN_PARALLEL_DIRECT_WRITES);
        return;
    }
    fs_handle_set_cached(handle);
    if (pt->params.strictatime) {
        return; /* what the kernel has pages of is read without us, and no time moves */
    }
    fi->keep_cache = (pt->params.cache == FS_PASSTHROUGH_CACHE_ALWAYS &&
                      !atomic_load_explicit(&inode->backing->unwatched, memory_order_relaxed)) ||
                     (fstat(handle->fd, &st) == 0 && fs_inode_pages_valid(inode, &st));
}

static void release_handle(FsPassthrough *pt, uint64_t id)
{
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, id);
    if (!handle) {
        return;
    }
    g_autoptr(FsInode) inode = fs_inode_ref(handle->inode);
    fs_kernel_io_leave(&pt->kernel_io, handle);
    fs_locks_drop_handle(&pt->locks, handle);
    fs_handle_release(&pt->handles, id);
    fs_handle_put(g_steal_pointer(&handle)); /* closes, which drops its flock() lock */
    if (pt->params.locks == FS_PASSTHROUGH_LOCKS_REMOTE) {
        fs_locks_wake(&pt->locks, inode);
    }
}

/*
 * An open inode keeps its descriptor, and may have lost it on the way here: take one of the open
 * file itself, which is found whatever others do to its name. Best effort.
 */
static void keep_descriptor(FsPassthrough *pt, FsHandle *handle)
{
    if (handle->inode->handle || fs_inode_descriptor(handle->inode) >= 0) {
        return;
    }
    int fd;
    FsRoom room = {0};
    do {
        fd = fs_resolve_path_of(&pt->resolver, handle->fd);
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    if (fd >= 0 && !fs_inode_reopened(handle->inode, fd)) {
        close(fd);
    }
}

void fs_open_reply(FsRequest *request, FsOpenCall *call, int fd, int flags)
{
    FsPassthrough *pt = call->pt;
    fuse_req_t req = fs_request_fuse(request);
    FsHandle *handle = fs_handle_new(&pt->handles, call->inode, fd, flags, NULL);
    if (!handle) {
        if (call->is_create) {
            fs_inode_forget(&pt->inodes, call->entry.ino, 1);
        }
        fuse_reply_err(req, ENOMEM);
        return;
    }
    uint64_t id = fs_handle_id(handle);
    uint64_t node = call->entry.ino;
    call->fi.fh = id;
    keep_descriptor(pt, handle);
    choose_caching(pt, request, handle, &call->fi);
    int sent = call->is_create ? fuse_reply_create(req, &call->entry, &call->fi)
                               : fuse_reply_open(req, &call->fi);
    if (sent == -ENOENT) {
        release_handle(pt, id);
        if (call->is_create) {
            fs_inode_forget(&pt->inodes, node, 1);
        }
    }
}

void fs_open_reply_existing(FsRequest *request, FsOpenCall *call, int fd, int flags)
{
    FsPassthrough *pt = call->pt;
    int error = fd < 0 ? fd : 0;
    if (!error && call->kill_set_id && (call->fi.flags & O_TRUNC)) {
        error = fs_drop_set_id(pt, call->inode, &call->caller, false);
    }
    if (error) {
        if (fd >= 0) {
            close(fd);
        }
        if (call->is_create) {
            fs_inode_forget(&pt->inodes, call->entry.ino, 1);
        }
        fuse_reply_err(fs_request_fuse(request), -error);
        return;
    }
    fs_open_reply(request, call, fd, flags);
}

bool fs_open_truncates_huge(const FsOpenCall *call)
{
    struct stat st;
    return (call->fi.flags & O_TRUNC) && fs_stat(call->inode, &st) == 0 &&
           (int64_t)st.st_blocks * 512 > FS_HUGE_BYTES;
}

static void open_on_helper(FsRequest *request, void *opaque)
{
    FsOpenCall *call = opaque;
    const bool may_wait = !(call->fi.flags & O_NONBLOCK);
    int flags, fd;
    unsigned tries = 0;
    do {
        fd = fs_open_inode(call->pt, call->inode, call->fi.flags, may_wait, &flags);
    } while (fs_reclaim_made_room(call->pt, fd, &tries));
    fs_open_reply_existing(request, call, fd, flags);
    fs_inode_put(call->inode);
    g_free(call);
}

/* Open the inode and answer, without waiting. False: that needs a helper, nothing was answered. */
static bool open_and_reply(FsRequest *request, FsOpenCall *call)
{
    int flags;
    if (fs_open_truncates_huge(call)) {
        return false;
    }
    int fd = fs_open_inode(call->pt, call->inode, call->fi.flags, false, &flags);
    if (fd == -ENFILE || (fd == -EWOULDBLOCK && !(call->fi.flags & O_NONBLOCK))) {
        return false;
    }
    fs_open_reply_existing(request, call, fd, flags);
    return true;
}

FsOpenCall fs_open_call(fuse_req_t req, const struct fuse_file_info *fi)
{
    return (FsOpenCall){
        .pt = fs_passthrough_of(req),
        .fi = *fi,
        .kill_set_id = fs_request_kills_suidgid(fs_request_current()),
        .caller = *fuse_req_ctx(req),
    };
}

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsRequest *request = fs_request_current();
    FsOpenCall call = fs_open_call(req, fi);
    call.inode = fs_inode_get(&call.pt->inodes, ino);
    if (!call.inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    if (open_and_reply(request, &call)) {
        fs_inode_put(call.inode);
        return;
    }
    FsOpenCall *copy = g_new(FsOpenCall, 1);
    *copy = call;
    fs_request_offload(request, NULL, open_on_helper, copy);
}

/* A descriptor of this file is closed: on a network file system that writes and reports. */
static void flush_on_helper(FsRequest *request, void *opaque)
{
    FsHandle *handle = opaque;
    FsPassthrough *pt = fs_passthrough_of(fs_request_fuse(request));
    int copy;
    FsRoom room = {0};
    do {
        copy = dup(handle->fd);
        copy = copy < 0 ? fs_client_error(errno) : copy;
    } while (fs_inodes_room_made(&pt->inodes, copy, &room));
    fs_request_reply_error(request, copy < 0 ? -copy : close(copy) < 0 ? errno : 0);
    fs_handle_put(handle);
}

void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    if (!handle) {
        fuse_reply_err(req, EBADF);
        return;
    }
    if (pt->params.locks == FS_PASSTHROUGH_LOCKS_REMOTE) {
        fs_locks_drop_owner(&pt->locks, handle->inode, fi->lock_owner);
    }
    if (handle->inode->backing->local) {
        fuse_reply_err(req, 0);
        return;
    }
    FsRequest *request = fs_request_current();
    fs_request_offload(request, fs_session_pool(fs_request_session(request)), flush_on_helper,
                       g_steal_pointer(&handle));
}

static void release_on_helper(FsRequest *request, void *opaque)
{
    FsHandle *handle = opaque;
    FsPassthrough *pt = fs_passthrough_of(fs_request_fuse(request));
    uint64_t id = fs_handle_id(handle);
    fs_handle_put(handle);
    release_handle(pt, id);
    fs_request_reply_error(request, 0);
}

void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    if (handle && !handle->inode->backing->local) {
        FsRequest *request = fs_request_current();
        fs_request_offload(request, fs_session_pool(fs_request_session(request)), release_on_helper,
                           g_steal_pointer(&handle));
        return;
    }
    fs_handle_put(g_steal_pointer(&handle));
    release_handle(pt, fi->fh);
    fuse_reply_err(req, 0);
}

typedef struct CloseWork {
    AioPoolWork work;
    int fd;
} CloseWork;

static void close_on_helper(AioPoolWork *work)
{
    CloseWork *closing = (CloseWork *)work;
    close(closing->fd);
    g_free(closing);
}

void fs_close_inode_fd(int fd, mode_t type, void *opaque)
{
    FsPassthrough *pt = opaque;
    struct stat st;
    if (type == S_IFREG && pt->session && fstat(fd, &st) == 0 && st.st_nlink == 0 &&
        (int64_t)st.st_blocks * 512 > FS_HUGE_BYTES) {
        CloseWork *closing = g_new0(CloseWork, 1);
        closing->fd = fd;
        closing->work.run = close_on_helper;
        aio_pool_submit(fs_session_pool(pt->session), &closing->work);
        return;
    }
    close(fd);
}
