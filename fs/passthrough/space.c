/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Space within files: FALLOCATE, LSEEK (data and holes), COPY_FILE_RANGE. */
#include <unistd.h>

#include "fs/passthrough/operations.h"

/* A reply to COPY_FILE_RANGE has 32 bits; one step is short enough to notice an interrupt. */
#define COPY_MAX  (1024 * 1024 * 1024)
#define COPY_STEP (16 * 1024 * 1024)

/* The kernel asks for no SETATTR when these change a file: the duty is ours. */
static int drop_set_id_for_caller(fuse_req_t req, const FsInode *inode)
{
    return fs_drop_set_id(fs_passthrough_of(req), inode, fuse_req_ctx(req), true);
}

static void fallocate_done(AioIo *io)
{
    FsRequest *request = fs_request_from_io(io);
    FsHandle *handle = fs_request_get_data(request);
    fs_request_reply_error(request, -io->result);
    fs_handle_put(handle);
}

void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                     struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    int error = handle ? -drop_set_id_for_caller(req, handle->inode) : EBADF;
    if (!error && (offset < 0 || length <= 0)) {
        error = EINVAL;
    }
    if (error) {
        fs_request_reply_error(request, error);
        return;
    }
    AioIo *io = fs_request_io(request);
    aio_io_init_fallocate(io, handle->fd, mode, offset, (uint64_t)length);
    fs_request_set_data(request, g_steal_pointer(&handle));
    aio_io_submit(fs_request_context(request), io, fallocate_done);
}

/* The descriptor's own position is used by nobody: reads and writes name theirs. */
void fs_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                 struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    if (!handle) {
        fuse_reply_err(req, EBADF);
        return;
    }
    if (atomic_load_explicit(&pt->writeback, memory_order_relaxed)) {
        /* what is not yet written back looks like a hole here; to the kernel all is data */
        fuse_reply_err(req, ENOSYS);
        return;
    }
    if (handle->dir || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    off_t found = lseek(handle->fd, offset, whence);
    if (found < 0) {
        fuse_reply_err(req, errno);
    } else {
        fuse_reply_lseek(req, found);
    }
}

typedef struct CopyCall {
    FsHandle *in, *out; /* referenced */
    off_t offset_in, offset_out;
    size_t length;
    unsigned flags;
} CopyCall;

/* Copy in steps until done, the end, an error or an interrupt. Bytes or negative errno. */
static ssize_t copy_range(fuse_req_t req, CopyCall *call)
{
    size_t copied = 0;
    while (copied < call->length && !fuse_req_interrupted(req)) {
        size_t step = MIN(call->length - copied, COPY_STEP);
        ssize_t got = copy_file_range(call->in->fd, &call->offset_in, call->out->fd,
                                      &call->offset_out, step, call->flags);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && copied == 0) {
            return -errno;
        }
        if (got <= 0) {
            break;
        }
        copied += (size_t)got;
    }
    return copied == 0 && call->length > 0 && fuse_req_interrupted(req) ? -EINTR : (ssize_t)copied;
}

static void copy_and_reply(FsRequest *request, CopyCall *call)
{
    ssize_t copied = copy_range(fs_request_fuse(request), call);
    if (copied < 0) {
        fs_request_reply_error(request, (int)-copied);
    } else {
        fs_request_reply_write(request, (size_t)copied);
    }
    fs_handle_put(call->in);
    fs_handle_put(call->out);
}

static void copy_on_helper(FsRequest *request, void *opaque)
{
    copy_and_reply(request, opaque);
    g_free(opaque);
}

void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t offset_in,
                           struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t offset_out,
                           struct fuse_file_info *fi_out, size_t length, int flags)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    g_autoptr(FsHandle) in = fs_handle_get(&pt->handles, fi_in->fh);
    g_autoptr(FsHandle) out = fs_handle_get(&pt->handles, fi_out->fh);
    int error = in && out ? -drop_set_id_for_caller(req, out->inode) : EBADF;
    if (error) {
        fs_request_reply_error(request, error);
        return;
    }
    CopyCall call = {
        .in = g_steal_pointer(&in),
        .out = g_steal_pointer(&out),
        .offset_in = offset_in,
        .offset_out = offset_out,
        .length = MIN(length, COPY_MAX),
        .flags = (unsigned)flags,
    };
    if (call.length <= FS_COPY_INLINE_MAX) {
        copy_and_reply(request, &call);
        return;
    }
    CopyCall *copy = g_new(CopyCall, 1);
    *copy = call;
    fs_request_offload(request, fs_session_pool(fs_request_session(request)), copy_on_helper, copy);
}
