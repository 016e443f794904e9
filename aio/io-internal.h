/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The inside of the I/O engine: what io.c, io-*.c share. */
#ifndef SLUICE_AIO_IO_INTERNAL_H
#define SLUICE_AIO_IO_INTERNAL_H

#include "aio/bh.h"
#include "aio/io-fault.h"
#include "aio/io.h"

/** Steps that no caller can ask for by name. */
typedef enum AioIoInternalOp {
    AIO_IO_DISCARD_DEVICE = AIO_IO_DISCARD + 1, /**< BLKDISCARD */
    AIO_IO_TRIM,                                /**< cut off the padding of an aligned write */
} AioIoInternalOp;

/** The most that one read or write call transfers (MAX_RW_COUNT), whatever the page size. */
#define AIO_IO_STEP_MAX ((uint64_t)0x7fff0000)

/** The engine's state in a context; lives from first use until the context is freed. */
typedef struct AioIoEngine {
    AioContext *ctx;
    AioCounters *counters;
    AioRing *ring;         /**< NULL: everything goes to the helper threads */
    unsigned ring_ops;     /**< bit n: step n can go to the ring */
    unsigned in_flight;    /**< requests submitted and not done */
    AioHistogram *latency; /**< of whole requests; NULL: not measured */

    /* Requests answered without the kernel, first in first out. */
    AioIo *answered_first;
    AioIo **answered_tail;
    AioBh *answered_bh;

    /* Writes with an alignment, in the order they came; see io-bounce.c. */
    AioIo *ranges_first, *ranges_last;
    unsigned ranges_exclusive;
    unsigned ranges_waiting;

    bool faults_on;
    AioIoFaults faults;
    uint64_t fault_serial;
} AioIoEngine;

/* io.c */
/** The engine of @ctx, made at first use. Home thread. */
AioIoEngine *aio_io_engine(AioContext *ctx);
/** Start the request as it is, without a copy. */
void aio_io_start_whole(AioIo *io);
/** Start a transfer; @part_done learns how it ended, state.transferred how far it came. */
void aio_io_part_start(AioIo *io, int op, const struct iovec *iov, unsigned iov_count,
                       int64_t offset, uint64_t length, void (*part_done)(AioIo *io, int result));
/** The answer to a step: bytes or negative errno. Home thread, from dispatch only. */
void aio_io_step_done(AioIo *io, int32_t answer);
/** Let the next turn call aio_io_step_done() with @answer. */
void aio_io_answer_later(AioIo *io, int32_t answer);
/** The request succeeded with @transferred bytes; a read may be short. */
void aio_io_finish_transfer(AioIo *io, uint64_t transferred);
/** The end: release what the request holds and call done(). */
void aio_io_finish(AioIo *io, int result, uint64_t transferred);

/* io-ring.c */
/** Bit n: step n can go to @ring. */
unsigned aio_io_ring_ops(AioRing *ring);
void aio_io_ring_issue(AioIo *io);

/* io-pool.c */
void aio_io_pool_issue(AioIo *io);

/* io-bounce.c */
/** Start a read or write that has an alignment. */
void aio_io_direct_start(AioIo *io);
/** Release the copy and the range; starts writes that waited for it. */
void aio_io_direct_end(AioIo *io);

/* io-fault.c */
/** Draw the faults of the step that is about to be issued; true: it is answered. */
bool aio_io_fault_issue(AioIo *io);
/** Clean up after a faulted step; true: its answer is held back for a while. */
bool aio_io_fault_answer(AioIo *io, int32_t answer);

#endif /* SLUICE_AIO_IO_INTERNAL_H */
