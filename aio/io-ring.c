/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps of the I/O engine as SQEs of the context's ring.
 *
 * How it works: one buffer goes as READ or WRITE, a vector as READV or WRITEV;
 * the plain forms are faster, since the kernel copies no vector. What the ring
 * has no operation for (discarding on a device, cutting a file's size) and
 * what an older kernel does not know goes to the helper threads.
 */
#include <fcntl.h>

#include "aio/io-internal.h"

unsigned aio_io_ring_ops(AioRing *ring)
{
    unsigned ops = 0;

    if (aio_ring_has_opcode(ring, IORING_OP_READ)) {
        ops |= 1u << AIO_IO_READ;
    }
    if (aio_ring_has_opcode(ring, IORING_OP_WRITE)) {
        ops |= 1u << AIO_IO_WRITE;
    }
    if (aio_ring_has_opcode(ring, IORING_OP_FSYNC)) {
        ops |= 1u << AIO_IO_FSYNC | 1u << AIO_IO_FDATASYNC;
    }
    if (aio_ring_has_opcode(ring, IORING_OP_FALLOCATE)) {
        ops |= 1u << AIO_IO_FALLOCATE | 1u << AIO_IO_DISCARD;
    }
    return ops;
}

static void prepare_transfer(struct io_uring_sqe *sqe, const AioIo *io, bool write)
{
    const struct AioIoState *state = &io->state;
    uint64_t offset = (uint64_t)state->offset;

    if (!(io->flags & AIO_IO_APPEND)) {
        offset += state->transferred;
    }
    if (G_LIKELY(state->step_iov_count == 1)) {
        const struct iovec *iov = state->step_iov;
        io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, io->fd, iov->iov_base,
                         (unsigned)iov->iov_len, offset);
    } else {
        io_uring_prep_rw(write ? IORING_OP_WRITEV : IORING_OP_READV, sqe, io->fd, state->step_iov,
                         state->step_iov_count, offset);
    }
    if (write && io->flags) {
        sqe->rw_flags =
            (io->flags & AIO_IO_FUA ? RWF_DSYNC : 0) | (io->flags & AIO_IO_APPEND ? RWF_APPEND : 0);
    }
}

static void prepare_fsync(struct io_uring_sqe *sqe, const AioIo *io, unsigned flags)
{
    io_uring_prep_fsync(sqe, io->fd, flags);
    sqe->off = (uint64_t)io->state.offset;
    sqe->len = (uint32_t)io->state.length;
}

static void prepare(struct io_uring_sqe *sqe, void *opaque)
{
    const AioIo *io = opaque;

    switch (io->state.step_op) {
    case AIO_IO_READ:
        prepare_transfer(sqe, io, false);
        return;
    case AIO_IO_WRITE:
        prepare_transfer(sqe, io, true);
        return;
    case AIO_IO_FSYNC:
        prepare_fsync(sqe, io, 0);
        return;
    case AIO_IO_FDATASYNC:
        prepare_fsync(sqe, io, IORING_FSYNC_DATASYNC);
        return;
    case AIO_IO_FALLOCATE:
        io_uring_prep_fallocate(sqe, io->fd, io->fallocate_mode, io->state.offset,
                                (off_t)io->state.length);
        return;
    case AIO_IO_DISCARD:
        io_uring_prep_fallocate(sqe, io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                io->state.offset, (off_t)io->state.length);
        return;
    }
    g_assert_not_reached();
}

static void completed(CqeHandler *cqe)
{
    aio_io_step_done(aio_container_of(cqe, AioIo, state.cqe), cqe->res);
}

void aio_io_ring_issue(AioIo *io)
{
    io->state.cqe = (CqeHandler){.callback = completed};
    aio_ring_add(io->state.engine->ring, prepare, io, &io->state.cqe);
}
