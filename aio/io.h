/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The I/O engine: whole transfers on a file descriptor.
 *
 * A request is done when every byte has been transferred, the end of the file
 * was met, or an error happened: interrupted calls are repeated, short
 * transfers continued. The same contract holds on the context's ring and,
 * where io_uring is not allowed, on the helper threads.
 *
 * What a request ends with:
 *
 *     everything transferred            result 0, transferred == length
 *     read met the end of the file      result 0, transferred short;
 *                                       AIO_IO_ZERO_FILL: as if transferred
 *     write made no progress            -ENOSPC
 *     AIO_IO_RETRIES_MAX times in a
 *     row EINTR or EAGAIN, and again    that error
 *     any other error, also after
 *     partial progress                  that error, transferred 0
 *     negative offset                   -EINVAL
 *     offset + length beyond 2^63 - 1   -EOVERFLOW
 */
#ifndef SLUICE_AIO_IO_H
#define SLUICE_AIO_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "aio/context.h"
#include "aio/pool.h"
#include "aio/timer.h"

typedef struct AioIo AioIo;
typedef void AioIoDoneFn(AioIo *io);

typedef enum AioIoOp {
    AIO_IO_READ,
    AIO_IO_WRITE,
    AIO_IO_FSYNC,     /**< data and metadata; offset/length: a range, length 0: the file */
    AIO_IO_FDATASYNC, /**< data and what is needed to read it back */
    AIO_IO_FALLOCATE, /**< mode in fallocate_mode */
    AIO_IO_DISCARD,   /**< punch a hole, or discard on a block device */
} AioIoOp;

typedef enum AioIoFlags {
    /** Read: fill what lies past the end of the file with zeros and succeed. */
    AIO_IO_ZERO_FILL = 1u << 0,
    /** Write: durable when done (RWF_DSYNC). */
    AIO_IO_FUA = 1u << 1,
    /** Write: append (RWF_APPEND); the offset is ignored. */
    AIO_IO_APPEND = 1u << 2,
} AioIoFlags;

/** `result` of a request that is not done. */
#define AIO_IO_IN_PROGRESS (-EINPROGRESS)

/**
 * One request. Caller-owned; must not move or go away until done() begins,
 * which may free or reuse it. Initialise with one of the aio_io_init_*
 * functions, then submit. State of the caller's: embed it in a larger struct.
 */
struct AioIo {
    /* the request */
    AioIoOp op;
    int fd;
    unsigned flags;          /**< AioIoFlags */
    int fallocate_mode;      /**< FALLOC_FL_* */
    unsigned alignment;      /**< O_DIRECT's alignment of memory, offset, length; 0: none */
    int64_t offset;          /**< bytes */
    uint64_t length;         /**< bytes; sum of the vector for read and write */
    const struct iovec *iov; /**< borrowed until done */
    unsigned iov_count;
    AioIoDoneFn *done;
    /* the answer, valid in done() */
    int result;           /**< 0 or negative errno */
    uint64_t transferred; /**< bytes; short only at the end of the file (read) */
    /* private */
    struct iovec single; /**< backs @iov of the one-buffer forms */
    struct AioIoState {
        struct AioIoEngine *engine;
        int64_t submitted_ns; /**< 0: not measured */
        union {
            CqeHandler cqe;
            AioPoolWork work;
        };
        int step_op;      /**< AioIoOp or AioIoInternalOp */
        int32_t answer;   /**< of the step */
        unsigned retries; /**< EINTR/EAGAIN answers in a row */
        /* the transfer in hand: the request's own, or one part of a bounced one */
        void (*part_done)(AioIo *io, int result);
        int64_t offset;
        uint64_t length;
        uint64_t transferred;
        const struct iovec *iov; /**< what is left to transfer */
        unsigned iov_count;
        size_t iov_skip;    /**< bytes of the first element that are done */
        struct iovec *rest; /**< owned: trimmed vector of a continued transfer */
        /* the next step, as the engine sees it */
        const struct iovec *step_iov;
        unsigned step_iov_count;
        struct iovec step_single;
        /* waiting without the kernel */
        AioIo *next_answered;
        AioTimer timer; /**< back-off, or an injected delay */
        /* direct I/O: the aligned copy, and whom to wait for */
        void *bounce;
        struct iovec bounce_iov;
        int64_t bounce_offset;
        int64_t bounce_trim_to; /**< size to cut the file to; -1: do not */
        struct {
            AioIo *next, *prev;
            int64_t start, end;
            bool tracked, exclusive, waiting;
        } range;
        /* injected faults */
        bool faulted; /**< the step in flight has a delay or a shortened vector */
        uint64_t fault_serial;
        unsigned fault_steps;
        unsigned fault_burst;
        int32_t fault_burst_answer;
        int64_t fault_delay_ns;
        struct iovec *fault_iov; /**< owned */
    } state;
};

/** Read or write one buffer. */
void aio_io_init_read(AioIo *io, int fd, void *buf, size_t length, int64_t offset);
void aio_io_init_write(AioIo *io, int fd, const void *buf, size_t length, int64_t offset);
/** Read or write a vector; @iov stays the caller's and is not changed. */
void aio_io_init_readv(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset);
void aio_io_init_writev(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset);
/** Make what was written durable; a range, or the whole file with length 0. */
void aio_io_init_fsync(AioIo *io, int fd, bool datasync, int64_t offset, uint64_t length);
void aio_io_init_fallocate(AioIo *io, int fd, int mode, int64_t offset, uint64_t length);
/** Discard a range: a hole in a file, a discard on a block device. */
void aio_io_init_discard(AioIo *io, int fd, int64_t offset, uint64_t length);

/**
 * Start a request. Home thread of @ctx.
 *
 * @done is called on the home thread, never from inside this function.
 * Set @flags and @alignment between init and submit.
 *
 * With @alignment set, what is not aligned goes through an aligned copy. A
 * write whose edges are not aligned reads the blocks at its edges first;
 * writes of the same context to the same descriptor wait for each other where
 * that matters. Between contexts the caller must see to it that nobody else
 * writes to those blocks meanwhile. An append needs an aligned length.
 */
void aio_io_submit(AioContext *ctx, AioIo *io, AioIoDoneFn *done);

/**
 * From now on record how many nanoseconds each request of @ctx takes, from
 * aio_io_submit() to done(). Home thread. @histogram NULL: no longer.
 */
void aio_io_set_latency(AioContext *ctx, AioHistogram *histogram);

/** EINTR/EAGAIN answers in a row that are repeated; one more fails the request. */
#define AIO_IO_RETRIES_MAX 64

#endif /* SLUICE_AIO_IO_H */
