/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Opening and closing files: OPEN, CREATE, TMPFILE, FLUSH, RELEASE.
 *
 * How it works: all three ways to open go through fs_open_flags(), and what
 * exists already is opened by its inode, never by its name. An open can wait
 * for another process that holds a lease, so a worker tries with O_NONBLOCK
 * and hands the request to a helper if that is refused.
 *
 * The kernel sends CREATE for a name that it believes to be free, and then checks no
 * permission of what it gets. So a file that is there nevertheless is opened for its
 * owner only, with the owner's rights; everybody else hears ESTALE, whereupon the kernel
 * looks the name up once more and opens what it finds by a checked OPEN.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

#define FOPEN_PARALLEL_DIRECT_WRITES (1u << 6) /* Linux 6.2 */
#define CREATE_RETRIES               16

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

/* Open, without waiting if O_NONBLOCK is in @flags; that flag does not stay. */
static int open_path(FsPassthrough *pt, int path_fd, int flags)
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
        fd = path.fd < 0 ? path.fd : open_path(pt, path.fd, flags);
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

/* What an OPEN or CREATE needs; a helper can do an OPEN. */
typedef struct OpenCall {
    FsPassthrough *pt;
    FsInode *inode;                /* referenced */
    struct fuse_file_info fi;      /* in: flags; out: the answer */
    struct fuse_entry_param entry; /* of a CREATE */
    bool is_create;
    bool kill_set_id;
    struct fuse_ctx caller;
} OpenCall;

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

/* Make a handle of @fd, which is consumed, and answer. */
static void reply_opened(FsRequest *request, OpenCall *call, int fd, int flags)
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

/* Answer with what was there already and is open as @fd, or with the negative errno in it. */
static void reply_existing(FsRequest *request, OpenCall *call, int fd, int flags)
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
    reply_opened(request, call, fd, flags);
}

/* Open the inode and answer. False: a lease is in the way, nothing was answered. */
static bool open_and_reply(FsRequest *request, OpenCall *call, bool may_wait)
{
    int flags;
    int fd = fs_open_inode(call->pt, call->inode, call->fi.flags, may_wait, &flags);
    if (fd == -EWOULDBLOCK && !may_wait && !(call->fi.flags & O_NONBLOCK)) {
        return false;
    }
    reply_existing(request, call, fd, flags);
    return true;
}

static void open_on_helper(FsRequest *request, void *opaque)
{
    OpenCall *call = opaque;
    open_and_reply(request, call, true);
    fs_inode_put(call->inode);
    g_free(call);
}

static bool truncates_huge(const OpenCall *call)
{
    struct stat st;
    return (call->fi.flags & O_TRUNC) && fs_stat(call->inode, &st) == 0 &&
           (int64_t)st.st_blocks * 512 > FS_HUGE_BYTES;
}

/* Open now or on a helper. Consumes the reference in @call. */
static void open_existing(FsRequest *request, OpenCall *call)
{
    if (!truncates_huge(call) && open_and_reply(request, call, false)) {
        fs_inode_put(call->inode);
        return;
    }
    OpenCall *copy = g_new(OpenCall, 1);
    *copy = *call;
    fs_request_offload(request, fs_session_pool(fs_request_session(request)), open_on_helper, copy);
}

static OpenCall open_call(fuse_req_t req, FsPassthrough *pt, const struct fuse_file_info *fi)
{
    return (OpenCall){
        .pt = pt,
        .fi = *fi,
        .kill_set_id = fs_request_kills_suidgid(fs_request_current()),
        .caller = *fuse_req_ctx(req),
    };
}

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    OpenCall call = open_call(req, pt, fi);
    call.inode = fs_inode_get(&pt->inodes, ino);
    if (!call.inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    open_existing(fs_request_current(), &call);
}

/* Answer a CREATE or TMPFILE (without name) with the new file behind @fd, which is consumed. */
static void reply_created(fuse_req_t req, OpenCall *call, int fd, int flags, const FsInode *parent,
                          const char *name)
{
    FsPassthrough *pt = call->pt;
    struct statx stx;
    int path_fd;
    FsRoom room = {0};
    do {
        path_fd = fs_resolve_path_of(&pt->resolver, fd);
    } while (fs_inodes_room_made(&pt->inodes, path_fd, &room));
    int error = path_fd < 0 ? path_fd : fs_resolve_statx(path_fd, &stx);
    if (!error) {
        error =
            fs_entry_from_descriptor(pt, path_fd, &stx, parent, name, &call->entry, &call->inode);
    } else if (path_fd >= 0) {
        close(path_fd);
    }
    if (error) {
        close(fd);
        fuse_reply_err(req, -error);
        return;
    }
    call->is_create = true;
    reply_opened(fs_request_current(), call, fd, flags);
    fs_inode_put(call->inode);
}

/*
 * Open the caller's own file with no more than the caller's rights. The owner is the
 * one for whom the host can decide without knowing all of the caller's groups.
 * Descriptor or negative errno, always without waiting.
 */
static int open_own(OpenCall *call, int *flags)
{
    FsPassthrough *pt = call->pt;
    if (call->inode->type != S_IFREG || call->entry.attr.st_uid != call->caller.uid ||
        !pt->credentials.can_switch || truncates_huge(call)) {
        return -EACCES;
    }
    g_auto(FsPathFd) path = fs_inode_path(call->inode); /* needs the daemon's own rights */
    if (path.fd < 0) {
        return path.fd;
    }
    *flags = fs_open_flags(pt, call->fi.flags);
    FsIdentity owner;
    FsCredentialsSaved saved;
    int fd = fs_caller_identity(pt, &call->caller, &owner);
    owner.no_override = true;
    if (fd == 0) {
        fd = fs_credentials_enter(&pt->credentials, &owner, &saved);
    }
    if (fd == 0) {
        fd = open_path(pt, path.fd, *flags | O_NONBLOCK);
        fs_credentials_leave(&pt->credentials, &saved);
    }
    *flags &= ~O_TRUNC;
    return fd;
}

/* The name exists: open it, or let the kernel do that. False: it is gone again. */
static bool create_existing(fuse_req_t req, OpenCall *call, const FsInode *parent, const char *name)
{
    FsPassthrough *pt = call->pt;
    int error = fs_entry_lookup(pt, parent, name, &call->entry, &call->inode);
    if (error == -ENOENT) {
        return false;
    }
    if (error) {
        fuse_reply_err(req, -error);
        return true;
    }
    call->entry.attr_timeout = fs_changed_timeout(pt, call->inode->backing);
    int flags = 0;
    int fd = open_own(call, &flags);
    call->is_create = true;
    reply_existing(fs_request_current(), call, fd < 0 ? -ESTALE : fd, flags);
    fs_inode_put(call->inode);
    return true;
}

static int open_unnamed(int parent_fd, int flags, mode_t mode)
{
    int fd = openat(parent_fd, ".", flags | O_TMPFILE | O_CLOEXEC, mode);
    return fd < 0 ? fs_client_error(errno) : fd;
}

/* Descriptor of the new file of @creator, @name or without one (NULL), or negative errno. */
static int create_file(FsPassthrough *pt, int parent_fd, const char *name, int flags, mode_t mode,
                       const FsIdentity *creator)
{
    int fd;
    FsRoom room = {0};
    do {
        FsCredentialsSaved saved;
        fd = fs_credentials_enter(&pt->credentials, creator, &saved);
        if (fd == 0) {
            fd = name ? fs_resolve_create(&pt->resolver, parent_fd, name, flags, mode)
                      : open_unnamed(parent_fd, flags, mode);
            fs_credentials_leave(&pt->credentials, &saved);
        }
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    return fd;
}

void fs_op_create(fuse_req_t req, fuse_ino_t parent_id, const char *name, mode_t mode,
                  struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    OpenCall call = open_call(req, pt, fi);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    g_auto(FsPathFd) path = parent ? fs_inode_path(parent) : (FsPathFd){.fd = -ESTALE};
    FsIdentity creator;
    int error = path.fd < 0 ? path.fd : fs_creator(req, &creator);
    if (error) {
        fuse_reply_err(req, -error);
        return;
    }
    mode = fs_creation_mode(req, path.fd, mode);
    int flags = fs_open_flags(pt, fi->flags) & ~O_TRUNC;
    for (int i = 0; i < CREATE_RETRIES; i++) {
        int fd = create_file(pt, path.fd, name, flags, mode, &creator);
        if (fd >= 0) {
            reply_created(req, &call, fd, flags, parent, name);
            return;
        }
        if ((fd != -EEXIST && fd != -EXDEV) || (fi->flags & O_EXCL)) {
            fuse_reply_err(req, fd == -EXDEV ? EEXIST : -fd);
            return;
        }
        if (create_existing(req, &call, parent, name)) {
            return;
        }
    }
    fuse_reply_err(req, ESTALE); /* somebody creates and removes it all the time */
}

void fs_op_tmpfile(fuse_req_t req, fuse_ino_t parent_id, mode_t mode, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    OpenCall call = open_call(req, pt, fi);
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    g_auto(FsPathFd) path = parent ? fs_inode_path(parent) : (FsPathFd){.fd = -ESTALE};
    FsIdentity creator;
    int error = path.fd < 0 ? path.fd : fs_creator(req, &creator);
    if (error) {
        fuse_reply_err(req, -error);
        return;
    }
    mode = fs_creation_mode(req, path.fd, mode);
    int flags = fs_open_flags(pt, fi->flags) & ~O_TRUNC;
    int fd = create_file(pt, path.fd, NULL, flags | (fi->flags & O_EXCL), mode, &creator);
    if (fd < 0) {
        fuse_reply_err(req, -fd);
        return;
    }
    reply_created(req, &call, fd, flags, NULL, NULL);
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
