/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file or block device as it is.
 *
 * How it works: with the page cache, what is in memory is read at once, and
 * writes go into the page cache at once (io_uring would hand buffered writes to a kernel
 * thread each); the rest, and everything with O_DIRECT, is one request of the
 * caller's ring. Direct writes, zeros and discards are put in order where they
 * share blocks (serialize.h).
 *
 * Zeros: the file system or device is asked first; where it cannot, zeros are
 * written, ZERO_STEP bytes at a time, with the request's offset and length
 * as the place where that stands.
 */
#include "fs/block/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/block/serialize.h"

#define ZERO_BUFFER (64 * 1024)
#define ZERO_STEP   (1024 * 1024)
#define SKIP_MAX    31u

typedef struct BlockRaw {
    BlockNode node;
    int fd;
    bool direct;
    unsigned alignment; /* of direct I/O; 0: none */
    BlockSerializer serializer;
    pthread_mutex_t grow_lock;
    bool guarded; /* see block_raw_guard_format() */
    _Atomic(bool) told;
    _Atomic(bool) no_nowait_read, no_zero, no_punch, no_discard;
    /* Hints, see inline_read_pays(). */
    _Atomic(unsigned) read_miss, read_skip;
} BlockRaw;

static const char zeros[ZERO_BUFFER] __attribute__((aligned(4096)));

static BlockRaw *raw_of(BlockNode *node)
{
    return aio_container_of(node, BlockRaw, node);
}

static void raw_done(AioIo *io)
{
    block_complete(aio_container_of(io, BlockRequest, io), io->result);
}

/* --- reading --- */

/* After misses the next reads go to the ring without a try: the data is cold. */
static bool inline_read_pays(BlockRaw *raw)
{
    if (raw->direct || atomic_load_explicit(&raw->no_nowait_read, memory_order_relaxed)) {
        return false;
    }
    unsigned skip = atomic_load_explicit(&raw->read_skip, memory_order_relaxed);
    if (skip == 0) {
        return true;
    }
    atomic_store_explicit(&raw->read_skip, skip - 1, memory_order_relaxed);
    return false;
}

static bool read_inline(BlockRaw *raw, const BlockRequest *request)
{
    ssize_t got =
        preadv2(raw->fd, request->iov, (int)request->iov_count, request->offset, RWF_NOWAIT);

    if (got == (ssize_t)request->length) {
        atomic_store_explicit(&raw->read_miss, 0, memory_order_relaxed);
        return true;
    }
    if (got < 0 && errno == EOPNOTSUPP) {
        atomic_store_explicit(&raw->no_nowait_read, true, memory_order_relaxed);
        return false;
    }
    unsigned miss = atomic_load_explicit(&raw->read_miss, memory_order_relaxed);
    miss = MIN(miss * 2 + 1, SKIP_MAX);
    atomic_store_explicit(&raw->read_miss, miss, memory_order_relaxed);
    atomic_store_explicit(&raw->read_skip, miss, memory_order_relaxed);
    return false;
}

static void raw_read(BlockRaw *raw, BlockRequest *request)
{
    if (request->iov_count <= IOV_MAX && inline_read_pays(raw) && read_inline(raw, request)) {
        block_complete(request, 0);
        return;
    }
    aio_io_init_readv(&request->io, raw->fd, request->iov, request->iov_count, request->offset);
    request->io.alignment = raw->alignment;
    request->io.flags = AIO_IO_ZERO_FILL; /* a file that somebody has cut */
    aio_io_submit(aio_context_current(), &request->io, raw_done);
}

/* --- changing --- */

static void change_done(AioIo *io)
{
    BlockRequest *request = aio_container_of(io, BlockRequest, io);
    BlockRaw *raw = raw_of(request->node);

    if (raw->direct) {
        block_serializer_end(&raw->serializer, request);
    }
    block_complete(request, io->result);
}

static void start_write(BlockRequest *request)
{
    BlockRaw *raw = raw_of(request->node);

    aio_io_init_writev(&request->io, raw->fd, request->iov, request->iov_count, request->offset);
    request->io.alignment = raw->alignment;
    request->io.flags = request->flags & BLOCK_FUA ? AIO_IO_FUA : 0;
    aio_io_submit(aio_context_current(), &request->io, change_done);
}

/* Into the page cache; false: the ring must do it, or report why not. */
static bool write_inline(BlockRaw *raw, const BlockRequest *request)
{
    if (raw->direct || request->flags & BLOCK_FUA || request->iov_count > IOV_MAX) {
        return false;
    }
    return pwritev(raw->fd, request->iov, (int)request->iov_count, request->offset) ==
           (ssize_t)request->length;
}

static void zero_step(BlockRequest *request);

static void zero_step_done(AioIo *io)
{
    BlockRequest *request = aio_container_of(io, BlockRequest, io);

    if (io->result < 0) {
        change_done(io);
        return;
    }
    request->offset += (int64_t)io->length;
    request->length -= io->length;
    zero_step(request);
}

/* Write zeros, a piece at a time. */
static void zero_step(BlockRequest *request)
{
    static const struct iovec pieces[ZERO_STEP / ZERO_BUFFER] = {
        [0 ... ZERO_STEP / ZERO_BUFFER - 1] = {(void *)(uintptr_t)zeros, sizeof(zeros)},
    };
    BlockRaw *raw = raw_of(request->node);

    if (request->length == 0) {
        aio_io_init_fsync(&request->io, raw->fd, true, 0, 0);
        if (request->flags & BLOCK_FUA) {
            aio_io_submit(aio_context_current(), &request->io, change_done);
        } else {
            request->io.result = 0;
            change_done(&request->io);
        }
        return;
    }
    if (request->length >= ZERO_STEP) {
        aio_io_init_writev(&request->io, raw->fd, pieces, G_N_ELEMENTS(pieces), request->offset);
    } else {
        aio_io_init_write(&request->io, raw->fd, zeros, MIN(request->length, sizeof(zeros)),
                          request->offset);
    }
    request->io.alignment = raw->alignment;
    aio_io_submit(aio_context_current(), &request->io, zero_step_done);
}

/* What the store has been found not to do: the two ways to zero are independent. */
static _Atomic(bool) *refusal_of(BlockRaw *raw, const BlockRequest *request)
{
    return request->flags & BLOCK_MAY_UNMAP ? &raw->no_punch : &raw->no_zero;
}

static void zero_done(AioIo *io)
{
    BlockRequest *request = aio_container_of(io, BlockRequest, io);

    if (io->result == -EOPNOTSUPP || io->result == -EINVAL) {
        if (io->result == -EOPNOTSUPP) {
            atomic_store_explicit(refusal_of(raw_of(request->node), request), true,
                                  memory_order_relaxed);
        }
        zero_step(request);
    } else if (io->result < 0) {
        change_done(io);
    } else {
        request->length = 0; /* nothing left to write */
        zero_step(request);
    }
}

static void start_zero(BlockRequest *request)
{
    BlockRaw *raw = raw_of(request->node);
    int mode = request->flags & BLOCK_MAY_UNMAP ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

    if (atomic_load_explicit(refusal_of(raw, request), memory_order_relaxed)) {
        zero_step(request);
        return;
    }
    aio_io_init_fallocate(&request->io, raw->fd, mode | FALLOC_FL_KEEP_SIZE, request->offset,
                          request->length);
    aio_io_submit(aio_context_current(), &request->io, zero_done);
}

static void discard_done(AioIo *io)
{
    BlockRequest *request = aio_container_of(io, BlockRequest, io);

    /* A hint: a store that cannot leaves the bytes as they are. */
    if (io->result == -EOPNOTSUPP || io->result == -EINVAL) {
        if (io->result == -EOPNOTSUPP) {
            atomic_store_explicit(&raw_of(request->node)->no_discard, true, memory_order_relaxed);
        }
        io->result = 0;
    }
    change_done(io);
}

static void start_discard(BlockRequest *request)
{
    BlockRaw *raw = raw_of(request->node);

    aio_io_init_discard(&request->io, raw->fd, request->offset, request->length);
    aio_io_submit(aio_context_current(), &request->io, discard_done);
}

static void begin_change(BlockRaw *raw, BlockRequest *request, void (*go)(BlockRequest *request))
{
    if (raw->direct) {
        block_serializer_begin(&raw->serializer, request, go);
    } else {
        go(request);
    }
}

/* --- status --- */

/* The file system's word on where data and holes are; it may read metadata. */
static int raw_status(BlockRaw *raw, BlockRequest *request)
{
    const int64_t end = request->offset + (int64_t)request->length;
    off_t data = lseek(raw->fd, request->offset, SEEK_DATA);
    off_t hole;

    request->status = BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED;
    request->run = request->length;
    if (data < 0 && errno == ENXIO) {
        request->status = 0; /* a hole up to the end of the file */
        return 0;
    }
    if (data < 0) {
        return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -errno; /* everything is data then */
    }
    if (data > request->offset) {
        request->status = 0;
        request->run = (uint64_t)(MIN(data, end) - request->offset);
        return 0;
    }
    hole = lseek(raw->fd, request->offset, SEEK_HOLE);
    if (hole > request->offset) {
        request->run = (uint64_t)(MIN(hole, end) - request->offset);
    }
    return 0;
}

/* --- the node --- */

/*
 * Whether a write may turn the image into one of another format. Its first bytes
 * are written by whoever uses the disk; the next to open the image without format= would believe
 * them, and the names of files that come with them.
 */
static bool is_dangerous(BlockRaw *raw, const BlockRequest *request)
{
    static const char magic[4] = {'Q', 'F', 'I', (char)0xfb};
    char head[sizeof(magic)] = {0};
    size_t filled = 0;

    if (!raw->guarded || request->offset >= (int64_t)sizeof(magic)) {
        return false;
    }
    for (unsigned i = 0; i < request->iov_count && filled < sizeof(head); i++) {
        size_t length = MIN(request->iov[i].iov_len, sizeof(head) - filled);

        memcpy(head + filled, request->iov[i].iov_base, length);
        filled += length;
    }
    if (request->offset == 0 && filled == sizeof(head) && memcmp(head, magic, sizeof(head)) != 0) {
        return false;
    }
    if (!atomic_exchange(&raw->told, true)) {
        g_warning("'%s': a write to its first bytes is refused, because it would look like a "
                  "qcow2 image from then on; format=raw allows it",
                  raw->node.name);
    }
    return true;
}

/* The size of a device is not ours to change. */
static int raw_grow(BlockRaw *raw, int64_t size)
{
    struct stat st;
    int result = 0;

    pthread_mutex_lock(&raw->grow_lock);
    if (fstat(raw->fd, &st) < 0) {
        result = -errno;
    } else if (!S_ISREG(st.st_mode)) {
        result = -EOPNOTSUPP;
    } else if (size < raw->node.size) {
        result = -EINVAL; /* somebody else has just made it longer */
    } else if (size > st.st_size && ftruncate(raw->fd, size) < 0) {
        result = -errno;
    } else {
        raw->node.size = size;
    }
    pthread_mutex_unlock(&raw->grow_lock);
    return result;
}

static void raw_submit(BlockNode *node, BlockRequest *request)
{
    BlockRaw *raw = raw_of(node);

    switch (request->op) {
    case BLOCK_READ:
        raw_read(raw, request);
        return;
    case BLOCK_WRITE:
        if (is_dangerous(raw, request)) {
            block_complete(request, -EPERM);
        } else if (write_inline(raw, request)) {
            block_complete(request, 0);
        } else {
            begin_change(raw, request, start_write);
        }
        return;
    case BLOCK_ZERO:
        begin_change(raw, request, start_zero);
        return;
    case BLOCK_DISCARD:
        if (atomic_load_explicit(&raw->no_discard, memory_order_relaxed)) {
            block_complete(request, 0);
        } else {
            begin_change(raw, request, start_discard);
        }
        return;
    case BLOCK_FLUSH:
        aio_io_init_fsync(&request->io, raw->fd, true, 0, 0);
        aio_io_submit(aio_context_current(), &request->io, raw_done);
        return;
    case BLOCK_STATUS:
        block_complete(request, raw_status(raw, request));
        return;
    case BLOCK_GROW:
        block_complete(request, raw_grow(raw, request->offset));
        return;
    }
    g_error("block node '%s': unknown operation %d", node->name, (int)request->op);
}

/* By a buffered descriptor of its own where direct I/O would want alignment. */
static int raw_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    BlockRaw *raw = raw_of(node);
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", raw->fd);
    int fd = raw->direct ? open(self, O_RDONLY | O_CLOEXEC) : raw->fd;
    size_t done = 0;
    int error = 0;

    if (fd < 0) {
        return -errno;
    }
    while (done < length && error == 0) {
        ssize_t got = pread(fd, (char *)buffer + done, length - done, offset + (off_t)done);

        if (got > 0) {
            done += (size_t)got;
        } else if (got == 0) {
            memset((char *)buffer + done, 0, length - done);
            done = length;
        } else if (errno != EINTR) {
            error = -errno;
        }
    }
    if (raw->direct) {
        close(fd);
    }
    return error;
}

static void raw_close(BlockNode *node)
{
    BlockRaw *raw = raw_of(node);

    close(raw->fd);
    pthread_mutex_destroy(&raw->grow_lock);
    block_serializer_fini(&raw->serializer);
    g_free(raw);
}

static int raw_fd(const BlockNode *node)
{
    return aio_container_of(node, BlockRaw, node)->fd;
}

static const BlockDriver raw_driver = {
    .name = "raw",
    .submit = raw_submit,
    .read_now = raw_read_now,
    .fd = raw_fd,
    .close = raw_close,
};

/* Bytes of a file or block device; negative errno. */
static int64_t size_of(int fd)
{
    struct stat st;
    uint64_t bytes;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (S_ISREG(st.st_mode)) {
        return st.st_size;
    }
    if (!S_ISBLK(st.st_mode)) {
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    }
    if (ioctl(fd, BLKGETSIZE64, &bytes) < 0) {
        return -errno;
    }
    return bytes > INT64_MAX ? -EFBIG : (int64_t)bytes;
}

/* What direct I/O on @fd wants its memory, offsets and lengths aligned to. */
static unsigned direct_alignment(int fd)
{
    unsigned sector;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align > 0) {
        return MAX(stx.stx_dio_mem_align, stx.stx_dio_offset_align);
    }
#endif
    if (ioctl(fd, BLKSSZGET, &sector) == 0 && sector > 0) {
        return sector;
    }
    return 4096;
}

BlockNode *block_raw_new(int fd, const char *name, bool read_only, bool direct, GError **error)
{
    int64_t size = size_of(fd);
    BlockRaw *raw;

    if (size < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno((int)-size), "%s",
                    size == -EINVAL ? "it is neither a file nor a block device"
                                    : g_strerror((int)-size));
        close(fd);
        return NULL;
    }
    raw = g_new0(BlockRaw, 1);
    block_node_init(&raw->node, &raw_driver, name, size, read_only);
    raw->fd = fd;
    pthread_mutex_init(&raw->grow_lock, NULL);
    raw->direct = direct;
    raw->alignment = direct ? direct_alignment(fd) : 0;
    block_serializer_init(&raw->serializer, MAX(raw->alignment, 512));
    return &raw->node;
}

void block_raw_guard_format(BlockNode *node)
{
    g_assert(node->driver == &raw_driver);
    raw_of(node)->guarded = true;
}

void block_raw_set_endless(BlockNode *node)
{
    g_assert(node->driver == &raw_driver);
    node->size = INT64_MAX;
}

int block_raw_truncate(BlockNode *node, int64_t size)
{
    if (ftruncate(raw_of(node)->fd, size) < 0) {
        return -errno;
    }
    if (node->size != INT64_MAX) { /* block_raw_set_endless() */
        node->size = size;
    }
    return 0;
}

int block_raw_extend(BlockNode *node, int64_t size)
{
    BlockRaw *raw = raw_of(node);
    int64_t now = size_of(raw->fd);

    if (now < 0) {
        return (int)now;
    }
    if (now < size && ftruncate(raw->fd, size) < 0) {
        return -errno;
    }
    if (node->size < size) {
        node->size = size;
    }
    return 0;
}

int block_raw_fd(const BlockNode *node)
{
    return node->driver == &raw_driver ? aio_container_of(node, BlockRaw, node)->fd : -1;
}
