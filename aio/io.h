/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The I/O engine: whole transfers on a file descriptor.
 *
 * A request is done when every byte has been transferred, the end of the file
 * was met, or an error happened: interrupted calls are repeated, short
 * transfers continued. The same contract holds on the context's ring and,
 * where io_uring is not allowed, on the helper threads.
 */
#ifndef SLUICE_AIO_IO_H
#define SLUICE_AIO_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "aio/context.h"
#include "aio/timer.h"

typedef struct AioIo AioIo;
typedef void AioIoDoneFn(AioIo *io);

typedef enum AioIoOp {
    AIO_IO_READ,
    AIO_IO_WRITE,
    AIO_IO_FSYNC,     /**< data and metadata; offset/length: a range, 0/0 the file */
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

/**
 * One request. Caller-owned; must not move or go away until done() begins.
 * Initialise with one of the aio_io_init_* functions, then submit.
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
        AioContext *ctx;
        CqeHandler cqe;
        AioTimer timer;
        struct iovec *rest; /**< trimmed vector of a continued transfer */
        unsigned rest_index;
        unsigned rest_count;
        void *bounce;
        unsigned retries;
        int32_t step_result;
        bool on_ring;
    } state;
};

/** Read or write one buffer. */
void aio_io_init_read(AioIo *io, int fd, void *buf, size_t length, int64_t offset);
void aio_io_init_write(AioIo *io, int fd, const void *buf, size_t length, int64_t offset);
/** Read or write a vector; @iov stays the caller's and is not changed. */
void aio_io_init_readv(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset);
void aio_io_init_writev(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset);
/** Make what was written durable; a range, or the whole file with 0, 0. */
void aio_io_init_fsync(AioIo *io, int fd, bool datasync, int64_t offset, uint64_t length);
void aio_io_init_fallocate(AioIo *io, int fd, int mode, int64_t offset, uint64_t length);
/** Discard a range: a hole in a file, a discard on a block device. */
void aio_io_init_discard(AioIo *io, int fd, int64_t offset, uint64_t length);

/**
 * Start a request. Home thread of @ctx.
 *
 * @done is called on the home thread, never from inside this function.
 * Set @flags and @alignment between init and submit.
 */
void aio_io_submit(AioContext *ctx, AioIo *io, AioIoDoneFn *done);

/**
 * Faults injected below the engine's retry logic, decided by a seeded
 * generator: the same seed gives the same faults. Probabilities in permille.
 */
typedef struct AioIoFaults {
    uint64_t seed;
    unsigned short_permille;  /**< transfer only part, at least one byte */
    unsigned eagain_permille; /**< answer EAGAIN or EINTR */
    unsigned eio_permille;    /**< answer EIO */
    unsigned delay_permille;  /**< complete delay_ns later */
    unsigned cancel_permille; /**< answer ECANCELED */
    int64_t delay_ns;
    unsigned eagain_burst; /**< consecutive EAGAINs when it strikes; 0: 1 */
} AioIoFaults;

/** Switch fault injection on (@faults copied) or off (NULL). Home thread. */
void aio_io_set_faults(AioContext *ctx, const AioIoFaults *faults);

/** EINTR/EAGAIN answers in a row after which a request fails with it. */
#define AIO_IO_RETRIES_MAX 64

#endif /* SLUICE_AIO_IO_H */
