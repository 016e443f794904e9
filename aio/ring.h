/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * AioRing: one io_uring and the requests queued on it.
 *
 * A context owns one ring (aio_context_ring()); additional rings with other
 * parameters (IOPOLL, SQPOLL, 128-byte SQEs) can be created and attached to a
 * context as ordinary handlers. Every function is for the thread that created
 * the ring: with SINGLE_ISSUER the kernel refuses any other.
 *
 * A request is a CqeHandler embedded in a larger struct:
 *
 *     typedef struct Reader { CqeHandler cqe; char buf[512]; } Reader;
 *
 *     static void reader_prepare(struct io_uring_sqe *sqe, void *opaque)
 *     {
 *         Reader *reader = opaque;
 *         io_uring_prep_read(sqe, fd, reader->buf, sizeof(reader->buf), 0);
 *     }
 *
 *     static void reader_done(CqeHandler *handler)
 *     {
 *         Reader *reader = aio_container_of(handler, Reader, cqe);
 *         ... handler->res, handler->flags ...
 *     }
 *
 *     reader->cqe.callback = reader_done;
 *     aio_ring_add(aio_context_ring(ctx), reader_prepare, reader, &reader->cqe);
 */
#ifndef SLUICE_AIO_RING_H
#define SLUICE_AIO_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <glib.h>
#include <liburing.h>

typedef struct AioContext AioContext;
typedef struct AioRing AioRing;
typedef struct CqeHandler CqeHandler;

#define aio_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/** Called on the home thread, never from inside a submission or a CQ walk. */
typedef void CqeHandlerFn(CqeHandler *handler);

/**
 * A request in flight. Lives from aio_ring_add() until its callback begins;
 * the callback may reuse or free it.
 */
struct CqeHandler {
    CqeHandlerFn *callback;
    int32_t res;    /**< from the CQE, valid in the callback */
    uint32_t flags; /**< from the CQE, valid in the callback */
    /**
     * Set before aio_ring_add(): the request may stay in the kernel for ever,
     * as a command that waits for somebody else's call does. It does not take
     * a place in the completion queue, and the ring is freed without waiting for
     * it: the callback may never run, and what the kernel may write to must
     * outlive the ring.
     */
    bool endless;
    /**
     * Set before aio_ring_add(): the request completes inside the submission, so it is no work
     * that keeps a device busy (aio_ring_keep_busy()).
     */
    bool instant;
    /* private */
    bool busy;
    bool immediate; /**< called inside the CQ walk; for the context's own use */
    CqeHandler *next;
};

/**
 * Fills an SQE (already zeroed). Called once, synchronously, from
 * aio_ring_add(). The tag (user_data) belongs to the ring and is overwritten.
 */
typedef void AioPrepareFn(struct io_uring_sqe *sqe, void *opaque);

typedef enum AioRingFlags {
    AIO_RING_SQE128 = 1u << 0,     /**< 128-byte SQEs, for FUSE over io_uring */
    AIO_RING_SQPOLL = 1u << 1,     /**< the kernel's own thread submits */
    AIO_RING_IOPOLL = 1u << 2,     /**< polled completions: O_DIRECT read/write only */
    AIO_RING_POLLABLE = 1u << 3,   /**< another loop sleeps on its descriptor (gsource.h) */
    AIO_RING_TRY_SQE128 = 1u << 4, /**< 128-byte SQEs where the kernel has them (Linux 5.19) */
} AioRingFlags;

typedef struct AioRingParams {
    unsigned entries;        /**< SQ entries; 0: 128 */
    unsigned cq_entries;     /**< CQ entries; 0: 8 x entries */
    unsigned flags;          /**< AioRingFlags */
    unsigned sqpoll_idle_ms; /**< 0: the kernel's default of 1 s */
    unsigned file_slots;     /**< size of the sparse registered-file table; 0: none */
} AioRingParams;

/** Create a ring for the calling thread. @error names the kernel's cause. */
AioRing *aio_ring_new(const AioRingParams *params, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Wait for everything in flight that has an end, run the callbacks, free the ring. */
void aio_ring_free(AioRing *ring);

/**
 * Queue a request.
 *
 * @prepare: fills the SQE; called before this function returns
 * @handler: told of the completion; NULL: nobody is
 *
 * Never fails. The kernel sees the SQE at the latest when the owner's current
 * or next turn waits; buffers must stay valid until the callback. When the
 * ring is full, queued SQEs are submitted; what the kernel does not take now
 * (EAGAIN, EBUSY, more in flight than the CQ holds) waits in order in a
 * software backlog and is submitted as completions arrive.
 */
void aio_ring_add(AioRing *ring, AioPrepareFn *prepare, void *opaque, CqeHandler *handler);

/**
 * Make sure that the next @n calls of aio_ring_add() reach the kernel in one
 * submission, as a linked chain must. @n at most the ring's SQ entries.
 */
void aio_ring_reserve(AioRing *ring, unsigned n);

/** Ask the kernel to cancel the request of @target. Its callback still runs. */
void aio_ring_cancel(AioRing *ring, CqeHandler *target, CqeHandler *handler);

/** Submit what is queued. 0, or the negative errno that left some queued. */
int aio_ring_submit(AioRing *ring);

/**
 * Submit what is queued if at least as many requests wait as the kernel works
 * on: called while a batch is put together, it lets the work begin with the first
 * one and grows the submissions as the device gets busy. Instant requests and
 * what the context watches do not count.
 */
void aio_ring_keep_busy(AioRing *ring);

/**
 * Whether requests are queued or in the kernel that work goes on for: neither instant nor endless
 * ones, nor what the context watches.
 */
bool aio_ring_is_working(const AioRing *ring);

/**
 * Whether completions may be had without waiting: the CQ is not empty, or the
 * kernel has deferred work for us (task-run or overflow flag). Memory reads
 * only; the one check used while spinning.
 */
bool aio_ring_has_completions(const AioRing *ring);

/**
 * Submit, wait for at least one completion or @timeout_ns (negative: for
 * ever; 0: no wait), and move the completions to the ready list. One system
 * call. Returns the number of completions moved, or a negative errno.
 */
int aio_ring_wait(AioRing *ring, int64_t timeout_ns);

/**
 * Move completions to the ready list without waiting; enters the kernel only
 * if the flags ask for it. Bounded by @budget (0: the CQ's size).
 */
unsigned aio_ring_reap(AioRing *ring, unsigned budget);

/** Run the callbacks of the ready list, first completed first. True if any ran. */
bool aio_ring_dispatch(AioRing *ring);

/** Whether aio_ring_dispatch() would run a callback. */
bool aio_ring_is_ready(const AioRing *ring);

/** Whether nothing is in flight or queued that freeing the ring would wait for. */
bool aio_ring_is_drained(const AioRing *ring);

/** Requests that the kernel holds and that are queued for it. */
unsigned aio_ring_in_flight(const AioRing *ring);
unsigned aio_ring_queued(const AioRing *ring);

/**
 * Let @ctx drive an additional ring: readiness, poll check, dispatch. Both
 * belong to the calling thread. Uses the ring's registered eventfd. Only a
 * ring with nothing in flight may be detached. 0 or negative errno.
 */
int aio_ring_attach(AioRing *ring, AioContext *ctx);
void aio_ring_detach(AioRing *ring);

/** The underlying ring, for registrations not wrapped here. */
struct io_uring *aio_ring_get_uring(AioRing *ring);
int aio_ring_fd(const AioRing *ring);
unsigned aio_ring_sq_entries(const AioRing *ring);
unsigned aio_ring_cq_entries(const AioRing *ring);
/** IORING_SETUP_* flags that the kernel accepted. */
unsigned aio_ring_setup_flags(const AioRing *ring);
/** Whether the kernel offers IORING_OP_@opcode. */
bool aio_ring_has_opcode(const AioRing *ring, unsigned opcode);

/*
 * Registrations. 0 or negative errno. Registered buffers and files live until
 * unregistered or the ring is freed. A registered file keeps the file open.
 */
int aio_ring_register_buffers(AioRing *ring, const struct iovec *iov, unsigned n);
int aio_ring_unregister_buffers(AioRing *ring);
/** Put @fd (-1: remove) into @slot of the file table made by file_slots. */
int aio_ring_register_file(AioRing *ring, unsigned slot, int fd);
/** @efd is signalled once for each completion. */
int aio_ring_register_eventfd(AioRing *ring, int efd);
int aio_ring_unregister_eventfd(AioRing *ring);

/**
 * Post a completion with @res and @user_tag into the ring of another context;
 * @target_fd is its aio_ring_fd(). @handler learns whether it was delivered.
 * In the target, a message wakes the loop and calls nobody.
 */
void aio_ring_message(AioRing *ring, int target_fd, CqeHandler *handler);

/** How the ring and the machine stand, for `sluicefs check`. */
typedef struct AioRingProbe {
    bool available;
    int error;            /**< errno if not available */
    unsigned setup_flags; /**< accepted of those we use */
    uint32_t features;    /**< IORING_FEAT_* */
    unsigned last_opcode;
    uint64_t opcodes; /**< bit n: opcode n supported (n < 64) */
} AioRingProbe;
void aio_ring_probe(AioRingProbe *probe);

#endif /* SLUICE_AIO_RING_H */
