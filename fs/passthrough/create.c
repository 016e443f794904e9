/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * CREATE and TMPFILE.
 *
 * How it works: the kernel sends CREATE for a name that it believes to be free, and then checks no
 * permission of what it gets. So a file that is there nevertheless is opened for its
 * owner only, with the owner's rights; everybody else hears ESTALE, whereupon the kernel
 * looks the name up once more and opens what it finds by a checked OPEN.
 *
 * A worker that has no descriptor left hands the request to a helper, which may wait for the
 * kernel to forget inodes. What has been created by then is kept open and answered later.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fs/passthrough/open-call.h"

#define CREATE_RETRIES 16

typedef struct CreateCall {
    FsOpenCall open;
    FsInode *parent;  /* referenced */
    const char *name; /* in the request; NULL: TMPFILE */
    mode_t mode;      /* that the client asks for */
    int flags;        /* to create with */
    FsIdentity creator;
    int fd; /* what was created and is not answered yet, or -1 */
} CreateCall;

/*
 * Answer with the new file. 0: answered. Otherwise negative errno, and nothing was; the file is
 * kept for another attempt.
 */
static int reply_created(fuse_req_t req, CreateCall *call)
{
    FsPassthrough *pt = call->open.pt;
    struct statx stx;
    int path_fd;
    FsRoom room = {0};
    do {
        path_fd = fs_resolve_path_of(&pt->resolver, call->fd);
    } while (fs_inodes_room_made(&pt->inodes, path_fd, &room));
    if (path_fd < 0) {
        return path_fd;
    }
    int error = fs_resolve_statx(path_fd, &stx);
    if (error) {
        close(path_fd);
        return error;
    }
    error = fs_entry_from_descriptor(pt, path_fd, &stx, call->name ? call->parent : NULL,
                                     call->name, &call->open.entry, &call->open.inode);
    if (error) {
        return error;
    }
    call->open.is_create = true;
    fs_open_reply(fs_request_current(), &call->open, call->fd, call->flags & ~O_EXCL);
    call->fd = -1;
    fs_inode_put(call->open.inode);
    return 0;
}

/*
 * Open the caller's own file with no more than the caller's rights. The owner is the
 * one for whom the host can decide without knowing all of the caller's groups.
 * Descriptor or negative errno, always without waiting.
 */
static int open_own(FsOpenCall *call, int *flags)
{
    FsPassthrough *pt = call->pt;
    if (call->inode->type != S_IFREG || call->entry.attr.st_uid != call->caller.uid ||
        !pt->credentials.can_switch || fs_open_truncates_huge(call)) {
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
        fd = fs_open_path(pt, path.fd, *flags | O_NONBLOCK);
        fs_credentials_leave(&pt->credentials, &saved);
    }
    *flags &= ~O_TRUNC;
    return fd;
}

/*
 * The name exists: open it, or let the kernel do that. 0: answered. Otherwise negative errno,
 * -ENOENT if it is gone again.
 */
static int open_existing(CreateCall *call)
{
    FsOpenCall *open = &call->open;
    int error = fs_entry_lookup(open->pt, call->parent, call->name, &open->entry, &open->inode);
    if (error) {
        return error;
    }
    open->entry.attr_timeout = fs_changed_timeout(open->pt, open->inode->backing);
    int flags = 0;
    int fd = open_own(open, &flags);
    open->is_create = true;
    fs_open_reply_existing(fs_request_current(), open, fd < 0 ? -ESTALE : fd, flags);
    fs_inode_put(open->inode);
    return 0;
}

static int open_unnamed(int parent_fd, int flags, mode_t mode)
{
    int fd = openat(parent_fd, ".", flags | O_TMPFILE | O_CLOEXEC, mode);
    return fd < 0 ? fs_client_error(errno) : fd;
}

/* Descriptor of the new file, or negative errno. */
static int create_file(const CreateCall *call, int parent_fd, mode_t mode)
{
    FsPassthrough *pt = call->open.pt;
    int fd;
    FsRoom room = {0};
    do {
        FsCredentialsSaved saved;
        fd = fs_credentials_enter(&pt->credentials, &call->creator, &saved);
        if (fd == 0) {
            fd = call->name
                     ? fs_resolve_create(&pt->resolver, parent_fd, call->name, call->flags, mode)
                     : open_unnamed(parent_fd, call->flags, mode);
            fs_credentials_leave(&pt->credentials, &saved);
        }
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    return fd;
}

/* 0: answered. Otherwise negative errno, and nothing was. */
static int create_and_reply(fuse_req_t req, CreateCall *call)
{
    if (call->fd >= 0) {
        return reply_created(req, call);
    }
    g_auto(FsPathFd) path = fs_inode_path(call->parent);
    if (path.fd < 0) {
        return path.fd;
    }
    const mode_t mode = fs_creation_mode(req, path.fd, call->mode);
    const bool may_exist = call->name && !(call->open.fi.flags & O_EXCL);
    for (int i = 0; i < CREATE_RETRIES; i++) {
        int fd = create_file(call, path.fd, mode);
        if (fd >= 0) {
            call->fd = fd;
            return reply_created(req, call);
        }
        fd = call->name && fd == -EXDEV ? -EEXIST : fd; /* something is mounted there */
        if (fd != -EEXIST || !may_exist) {
            return fd;
        }
        int error = open_existing(call);
        if (error != -ENOENT) {
            return error;
        }
    }
    return -ESTALE; /* somebody creates and removes it all the time */
}

/* What is left to do after the last attempt. */
static void create_end(fuse_req_t req, CreateCall *call, int error)
{
    if (error) {
        fuse_reply_err(req, -error);
    }
    if (call->fd >= 0) {
        close(call->fd);
    }
    fs_inode_put(call->parent);
}

static void create_on_helper(FsRequest *request, void *opaque)
{
    CreateCall *call = opaque;
    fuse_req_t req = fs_request_fuse(request);
    unsigned tries = 0;
    int error = -ENFILE;
    while (fs_reclaim_made_room(call->open.pt, error, &tries)) {
        error = create_and_reply(req, call);
    }
    create_end(req, call, error);
    g_free(call);
}

static void create(fuse_req_t req, fuse_ino_t parent_id, CreateCall *call)
{
    call->fd = -1;
    call->parent = fs_inode_get(&call->open.pt->inodes, parent_id);
    if (!call->parent) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    int error = fs_creator(req, &call->creator);
    if (!error) {
        error = create_and_reply(req, call);
    }
    if (error == -ENFILE) {
        CreateCall *copy = g_new(CreateCall, 1);
        *copy = *call;
        fs_request_offload(fs_request_current(), NULL, create_on_helper, copy);
        return;
    }
    create_end(req, call, error);
}

void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                  struct fuse_file_info *fi)
{
    CreateCall call = {.open = fs_open_call(req, fi), .name = name, .mode = mode};
    call.flags = fs_open_flags(call.open.pt, fi->flags) & ~O_TRUNC;
    create(req, parent, &call);
}

void fs_op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    CreateCall call = {.open = fs_open_call(req, fi), .mode = mode};
    call.flags = (fs_open_flags(call.open.pt, fi->flags) & ~O_TRUNC) | (fi->flags & O_EXCL);
    create(req, parent, &call);
}
