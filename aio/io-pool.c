/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps of the I/O engine as calls on the helper threads.
 *
 * How it works: a helper makes the one system call of a step and leaves the
 * answer in the request; the context's inbox brings it home. Nothing else of
 * the request is touched by the helper, and only the helper touches the
 * answer meanwhile. The call waits, so a short answer has the same meaning as
 * from the ring.
 *
 * An fsync of a range is an fsync of the whole file here: sync_file_range(2)
 * neither writes metadata nor flushes the device's cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "aio/io-internal.h"

static int64_t run_transfer(const AioIo *io, bool write)
{
    const struct AioIoState *state = &io->state;
    const struct iovec *iov = state->step_iov;
    int count = (int)state->step_iov_count;
    off_t offset = state->offset;

    if (!(io->flags & AIO_IO_APPEND)) {
        offset += (off_t)state->transferred;
    }
    if (!write) {
        return count == 1 ? pread(io->fd, iov->iov_base, iov->iov_len, offset)
                          : preadv(io->fd, iov, count, offset);
    }
    int flags =
        (io->flags & AIO_IO_FUA ? RWF_DSYNC : 0) | (io->flags & AIO_IO_APPEND ? RWF_APPEND : 0);
    if (flags) {
        return pwritev2(io->fd, iov, count, offset, flags);
    }
    return count == 1 ? pwrite(io->fd, iov->iov_base, iov->iov_len, offset)
                      : pwritev(io->fd, iov, count, offset);
}

static int run_discard_device(const AioIo *io)
{
    uint64_t range[2] = {(uint64_t)io->state.offset, io->state.length};
    return ioctl(io->fd, BLKDISCARD, range);
}

/*
 * Cut the file to state.offset, unless somebody has made it larger than the
 * padded write left it (state.length) and so owns the bytes now.
 */
static int run_trim(const AioIo *io)
{
    struct stat st;

    if (fstat(io->fd, &st) < 0) {
        return -1;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != io->state.length) {
        return 0;
    }
    if (ftruncate(io->fd, io->state.offset) < 0) {
        return -1;
    }
    return io->flags & AIO_IO_FUA ? fdatasync(io->fd) : 0;
}

static int64_t run_step(const AioIo *io)
{
    switch (io->state.step_op) {
    case AIO_IO_READ:
        return run_transfer(io, false);
    case AIO_IO_WRITE:
        return run_transfer(io, true);
    case AIO_IO_FSYNC:
        return fsync(io->fd);
    case AIO_IO_FDATASYNC:
        return fdatasync(io->fd);
    case AIO_IO_FALLOCATE:
        return fallocate(io->fd, io->fallocate_mode, io->state.offset, (off_t)io->state.length);
    case AIO_IO_DISCARD:
        return fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, io->state.offset,
                         (off_t)io->state.length);
    case AIO_IO_DISCARD_DEVICE:
        return run_discard_device(io);
    case AIO_IO_TRIM:
        return run_trim(io);
    }
    g_assert_not_reached();
}

static void run(AioPoolWork *work)
{
    AioIo *io = aio_container_of(work, AioIo, state.work);
    int64_t ret = run_step(io);
    io->state.answer = (int32_t)(ret < 0 ? -errno : ret);
}

static void done(AioPoolWork *work)
{
    AioIo *io = aio_container_of(work, AioIo, state.work);
    aio_io_step_done(io, io->state.answer);
}

void aio_io_pool_issue(AioIo *io)
{
    io->state.work = (AioPoolWork){.run = run, .done = done, .ctx = io->state.engine->ctx};
    aio_pool_submit(aio_pool_shared(), &io->state.work);
}
