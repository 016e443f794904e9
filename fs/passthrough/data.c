/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Moving bytes: READ, WRITE, FSYNC.
 *
 * How it works: what can be done from memory is done at once on the worker,
 * the rest is one request of the worker's ring, answered when it completes. An
 * operation that waits for the ring holds its handle by a reference in the
 * request's scratch room (DataState).
 */
#include <assert.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

#define READ_SKIP_MAX           31u
#define DIRECT_ALIGNMENT_UNTOLD 4096u

/* What a request remembers while the ring works for it. */
typedef struct DataState {
    FsHandle *handle; /* referenced */
    size_t before;    /* bytes done inline before the ring took over */
    off_t offset;     /* WRITE: of all of it; negative: at the end of the file */
    size_t written;   /* WRITE: bytes, while the file is synced */
    bool by_client;   /* WRITE: not a page of the kernel's cache */
    bool sync_file;   /* WRITE: the whole file is to be synced behind it */
} DataState;

static_assert(sizeof(DataState) <= FS_REQUEST_SCRATCH, "fits into a request's scratch room");

static DataState *data_state(FsRequest *request)
{
    return fs_request_scratch(request);
}

/* --- direct I/O --- */

static unsigned direct_alignment(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align) {
        return MAX(stx.stx_dio_mem_align, stx.stx_dio_offset_align);
    }
#endif
    return DIRECT_ALIGNMENT_UNTOLD;
}

/* The handle's O_DIRECT descriptor, opened by the first who asks; negative: there is none. */
static int direct_fd(FsPassthrough *pt, FsHandle *handle)
{
    int fd = atomic_load_explicit(&handle->direct_fd, memory_order_acquire);
    if (fd != FS_HANDLE_DIRECT_UNUSED) {
        return fd;
    }
    fd = fs_resolve_reopen(&pt->resolver, handle->fd, handle->flags | O_DIRECT);
    if (fd == -EINVAL) {
        fd = FS_HANDLE_DIRECT_NEVER;
    } else if (fd < 0) {
        return fd; /* for now; the next request may have more luck */
    } else {
        atomic_store_explicit(&handle->direct_alignment, direct_alignment(fd),
                              memory_order_relaxed);
    }
    int unused = FS_HANDLE_DIRECT_UNUSED;
    if (!atomic_compare_exchange_strong_explicit(&handle->direct_fd, &unused, fd,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        if (fd >= 0) {
            close(fd);
        }
        fd = unused; /* another thread's */
    }
    return fd;
}

/*
 * The descriptor for a direct request of the client; the buffered one where
 * the request is not aligned as the file system wants it, or where there is no
 * device to be direct to: what is memory anyway is read and written at once.
 * *@alignment: 0 then.
 */
static int choose_fd(FsPassthrough *pt, FsHandle *handle, const void *buffer, size_t size,
                     off_t offset, unsigned *alignment)
{
    *alignment = 0;
    int fd = handle->inode->backing->in_memory ? -1 : direct_fd(pt, handle);
    if (fd < 0) {
        return handle->fd;
    }
    unsigned want = atomic_load_explicit(&handle->direct_alignment, memory_order_relaxed);
    if (((uintptr_t)buffer | size | (uint64_t)offset) % want) {
        return handle->fd;
    }
    *alignment = want;
    return fd;
}

/* --- READ --- */

static void read_done(AioIo *io)
{
    FsRequest *request = fs_request_from_io(io);
    DataState state = *data_state(request);
    if (io->result < 0) {
        fs_request_reply_error(request, -io->result);
    } else {
        fs_request_reply_data(request, state.before + io->transferred);
    }
    fs_handle_put(state.handle);
}

/* Read on the ring; takes over the caller's reference on @handle. */
static void read_on_ring(FsRequest *request, FsHandle *handle, int fd, unsigned alignment,
                         char *buffer, size_t before, size_t size, off_t offset)
{
    *data_state(request) = (DataState){.handle = handle, .before = before};
    AioIo *io = fs_request_io(request);
    aio_io_init_read(io, fd, buffer + before, size - before, offset + (off_t)before);
    io->alignment = alignment;
    aio_io_submit(fs_request_context(request), io, read_done);
}

typedef enum InlineResult {
    INLINE_DONE, /* all of it, or the end of the file was met */
    INLINE_WOULD_WAIT,
    INLINE_FAILED,
} InlineResult;

/* preadv2(2) into one buffer; without flags pread(2), for which the kernel fetches no vector. */
static ssize_t read_at(int fd, char *buffer, size_t size, off_t offset, int flags)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = size};
    return flags ? preadv2(fd, &iov, 1, offset, flags) : pread(fd, buffer, size, offset);
}

/* The same for writing. */
static ssize_t write_at(int fd, const char *data, size_t size, off_t offset, int flags)
{
    struct iovec iov = {.iov_base = (char *)data, .iov_len = size};
    return flags ? pwritev2(fd, &iov, 1, offset, flags) : pwrite(fd, data, size, offset);
}

/*
 * Read what is in memory: all of it where the file system is nothing but memory.
 * *@done: bytes; *@error: positive errno if it failed.
 */
static InlineResult read_inline(FsHandle *handle, char *buffer, size_t size, off_t offset,
                                size_t *done, int *error)
{
    int flags = handle->inode->backing->in_memory ? 0 : RWF_NOWAIT;
    *done = 0;
    while (*done < size) {
        ssize_t got =
            read_at(handle->fd, buffer + *done, size - *done, offset + (off_t)*done, flags);
        if (got == 0) {
            return INLINE_DONE;
        }
        if (got > 0) {
            *done += (size_t)got;
        } else if (errno == EOPNOTSUPP) {
            atomic_store_explicit(&handle->inode->backing->no_nowait_read, true,
                                  memory_order_relaxed);
            return INLINE_WOULD_WAIT;
        } else if (errno == EAGAIN || *done > 0) {
            return INLINE_WOULD_WAIT; /* a real error comes again on the ring */
        } else if (errno != EINTR) {
            *error = errno;
            return INLINE_FAILED;
        }
    }
    return INLINE_DONE;
}

/* Whether an inline try is worth its system call: after misses the next reads skip it. */
static bool inline_read_pays(FsHandle *handle)
{
    if (atomic_load_explicit(&handle->inode->backing->no_nowait_read, memory_order_relaxed)) {
        return false;
    }
    unsigned skip = atomic_load_explicit(&handle->read_skip, memory_order_relaxed);
    if (skip == 0) {
        return true;
    }
    /* two threads may count one skip; it is a hint */
    atomic_store_explicit(&handle->read_skip, skip - 1, memory_order_relaxed);
    return false;
}

static void note_inline_read(FsHandle *handle, bool hit)
{
    unsigned miss = atomic_load_explicit(&handle->read_miss, memory_order_relaxed);
    if (hit) {
        if (miss) {
            atomic_store_explicit(&handle->read_miss, 0, memory_order_relaxed);
        }
        return;
    }
    miss = MIN(miss * 2 + 1, READ_SKIP_MAX);
    atomic_store_explicit(&handle->read_miss, miss, memory_order_relaxed);
    atomic_store_explicit(&handle->read_skip, miss, memory_order_relaxed);
}

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    char *buffer = handle ? fs_request_data_buffer(request, size) : NULL;
    if (!buffer) {
        fs_request_reply_error(request, handle ? EINVAL : EBADF);
        return;
    }
    FsPassthroughCounters *counters = fs_passthrough_counters(pt);
    unsigned alignment = 0;
    int fd = handle->fd;
    size_t done = 0;
    if (fi->flags & O_DIRECT) {
        fd = choose_fd(pt, handle, buffer, size, offset, &alignment);
    }
    if (!alignment && inline_read_pays(handle)) {
        int error = 0;
        InlineResult result = read_inline(handle, buffer, size, offset, &done, &error);
        if (result == INLINE_FAILED) {
            fs_request_reply_error(request, error);
            return;
        }
        note_inline_read(handle, result == INLINE_DONE);
        if (result == INLINE_DONE) {
            fs_count(&counters->reads_inline);
            fs_request_reply_data(request, done);
            return;
        }
    }
    fs_count(&counters->reads_ring);
    read_on_ring(request, g_steal_pointer(&handle), fd, alignment, buffer, done, size, offset);
}

/* --- WRITE --- */

/* Answer a WRITE of a client, or of the kernel's page cache; drops the reference on @handle. */
static void reply_written(FsRequest *request, FsHandle *handle, off_t offset, size_t written,
                          bool by_client)
{
    if (by_client && !atomic_load_explicit(&handle->cached, memory_order_relaxed) &&
        atomic_load(&handle->inode->may_have_pages)) {
        FsPassthrough *pt = fs_passthrough_of(fs_request_fuse(request));
        fs_stale_pages_drop(&pt->stale_pages, request, handle, offset, written);
        return;
    }
    fs_request_reply_write(request, written);
    fs_handle_put(handle);
}

static void write_synced(AioIo *io)
{
    FsRequest *request = fs_request_from_io(io);
    DataState state = *data_state(request);
    if (io->result < 0) {
        fs_request_reply_error(request, -io->result);
        fs_handle_put(state.handle);
    } else {
        reply_written(request, state.handle, state.offset, state.written, state.by_client);
    }
}

static void write_done(AioIo *io)
{
    FsRequest *request = fs_request_from_io(io);
    DataState state = *data_state(request);
    size_t written = state.before + io->transferred;
    if (io->result < 0 && (written == 0 || !state.by_client)) {
        fs_request_reply_error(request, -io->result);
        fs_handle_put(state.handle);
    } else if (state.sync_file) {
        data_state(request)->written = written;
        aio_io_init_fsync(io, state.handle->fd, false, 0, 0);
        aio_io_submit(fs_request_context(request), io, write_synced);
    } else {
        reply_written(request, state.handle, state.offset, written, state.by_client);
    }
}

typedef struct WriteCall {
    const char *data;
    size_t size;
    off_t offset;
    bool by_client;
    bool append;    /* at the end of the file, wherever that is now */
    bool durable;   /* RWF_DSYNC of the client */
    bool sync_file; /* RWF_SYNC of the client */
} WriteCall;

/* Write on the ring; takes over the caller's reference on @handle. */
static void write_on_ring(FsRequest *request, FsHandle *handle, int fd, unsigned alignment,
                          const WriteCall *call, size_t before)
{
    *data_state(request) = (DataState){
        .handle = handle,
        .before = before,
        .offset = call->append ? -1 : call->offset,
        .by_client = call->by_client,
        .sync_file = call->sync_file,
    };
    AioIo *io = fs_request_io(request);
    aio_io_init_write(io, fd, call->data + before, call->size - before,
                      call->offset + (off_t)before);
    io->alignment = alignment;
    io->flags |= call->append ? AIO_IO_APPEND : 0;
    io->flags |= call->durable ? AIO_IO_FUA : 0;
    aio_io_submit(fs_request_context(request), io, write_done);
}

/*
 * Write into the page cache. Where the file system can refuse to wait it is
 * asked to; where it cannot, a plain write is cheaper than the ring's threads.
 *
 * A client may be told of a short write. Of a page that it writes back the kernel
 * looks at the error only: what did not fit would be lost as if it were written.
 */
static InlineResult write_inline(FsHandle *handle, const WriteCall *call, size_t *done, int *error)
{
    FsBacking *backing = handle->inode->backing;
    *done = 0;
    while (*done < call->size) {
        bool nowait = !backing->in_memory &&
                      !atomic_load_explicit(&backing->no_nowait_write, memory_order_relaxed);
        int flags = (nowait ? RWF_NOWAIT : 0) | (call->append ? RWF_APPEND : 0);
        ssize_t put = write_at(handle->fd, call->data + *done, call->size - *done,
                               call->offset + (off_t)*done, flags);
        if (put > 0) {
            *done += (size_t)put;
        } else if (put == 0) {
            *error = ENOSPC;
            return *done > 0 && call->by_client ? INLINE_DONE : INLINE_FAILED;
        } else if (nowait && errno == EOPNOTSUPP) {
            atomic_store_explicit(&backing->no_nowait_write, true, memory_order_relaxed);
        } else if (nowait && errno == EAGAIN) {
            return INLINE_WOULD_WAIT;
        } else if (errno != EINTR) {
            *error = errno;
            return *done > 0 && call->by_client ? INLINE_DONE : INLINE_FAILED;
        }
    }
    return INLINE_DONE;
}

/*
 * A file that may only be appended to cannot be written at a place: a part of a direct write
 * has to wait for the one before. Whether this one is early.
 */
static bool begins_past_the_end(const FsHandle *handle, off_t offset)
{
    struct stat st;
    return fstat(handle->fd, &st) == 0 && st.st_size < offset;
}

void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                 struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    int error = handle ? 0 : EBADF;
    if (handle && fi->writepage && (handle->flags & O_APPEND)) {
        error = EPERM; /* of a shared mapping; it would land at the end of the file */
    }
    if (!error && fs_request_kills_suidgid(request)) {
        error = -fs_drop_set_id(pt, handle->inode, fuse_req_ctx(req), false);
    }
    if (error) {
        fs_request_reply_error(request, error);
        return;
    }
    /* a page that the kernel writes back knows its offset, whoever had the file open and how */
    bool by_client = !fi->writepage;
    /*
     * The kernel splits a direct write into requests that it sends side by side: each has to go
     * to the place that the kernel has chosen, and not to the end, where they would change order.
     */
    bool direct = by_client && (fi->flags & O_DIRECT);
    bool synchronous = by_client && !(handle->flags & O_DSYNC); /* may be so this time */
    WriteCall call = {
        .data = data,
        .size = size,
        .offset = offset,
        .by_client = by_client,
        .append = (handle->flags & O_APPEND) ||
                  (by_client && !direct && (fi->flags & O_APPEND) &&
                   !atomic_load_explicit(&pt->writeback, memory_order_relaxed)),
        .durable = synchronous && (fi->flags & O_DSYNC),
        .sync_file = synchronous && (fi->flags & O_SYNC) == O_SYNC,
    };
    if (direct && (handle->flags & O_APPEND) && begins_past_the_end(handle, offset)) {
        fs_request_reply_write(request, 0); /* the client hears of a short write */
        return;
    }
    FsPassthroughCounters *counters = fs_passthrough_counters(pt);
    unsigned alignment = 0;
    int fd = handle->fd;
    size_t done = 0;
    if (direct) {
        fd = choose_fd(pt, handle, data, size, offset, &alignment);
    }
    if (!alignment && !call.durable && !(handle->flags & O_DSYNC)) {
        InlineResult result = write_inline(handle, &call, &done, &error);
        if (result != INLINE_WOULD_WAIT) {
            fs_count(&counters->writes_inline);
            if (result == INLINE_FAILED) {
                fs_request_reply_error(request, error);
            } else {
                off_t at = call.append ? -1 : offset;
                reply_written(request, g_steal_pointer(&handle), at, done, by_client);
            }
            return;
        }
    }
    fs_count(&counters->writes_ring);
    write_on_ring(request, g_steal_pointer(&handle), fd, alignment, &call, done);
}

/* --- FSYNC, FSYNCDIR --- */

static void fsync_done(AioIo *io)
{
    FsRequest *request = fs_request_from_io(io);
    DataState state = *data_state(request);
    fs_request_reply_error(request, -io->result);
    fs_handle_put(state.handle);
}

void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    FsHandle *handle = NULL;
    int error = fs_dir_handle_get(pt, ino, fi->fh, &handle);
    if (error) {
        fs_request_reply_error(request, -error);
        return;
    }
    *data_state(request) = (DataState){.handle = handle};
    AioIo *io = fs_request_io(request);
    aio_io_init_fsync(io, handle->fd, datasync, 0, 0);
    aio_io_submit(fs_request_context(request), io, fsync_done);
}
