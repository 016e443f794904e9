/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the rest of aio/ and its tests may know of a ring. */
#ifndef SLUICE_AIO_RING_INTERNAL_H
#define SLUICE_AIO_RING_INTERNAL_H

#include <pthread.h>

#include "aio/bh.h"
#include "aio/ring.h"
#include "aio/stats.h"

/**
 * SQE images that the kernel does not take yet, first in first out: a circular
 * array that grows. Lives in backlog.c.
 */
typedef struct AioBacklog {
    unsigned char *images;
    size_t image_size; /**< 64 or 128 bytes */
    unsigned head, count, capacity;
} AioBacklog;

void aio_backlog_init(AioBacklog *backlog, size_t image_size);
void aio_backlog_fini(AioBacklog *backlog);
/** A zeroed image at the end of the queue; valid until the next call. */
struct io_uring_sqe *aio_backlog_push(AioBacklog *backlog);
/** The image @index places behind the first. */
const struct io_uring_sqe *aio_backlog_peek(const AioBacklog *backlog, unsigned index);
void aio_backlog_pop(AioBacklog *backlog);
/** SQEs of the linked chain at the head, 1 if it is a lone SQE. */
unsigned aio_backlog_chain_length(const AioBacklog *backlog);

/** How SQEs reach the kernel; replaced by tests that inject submit errors. */
typedef int AioRingSubmitFn(struct io_uring *uring);

struct AioRing {
    struct io_uring uring;
    pthread_t owner;
    unsigned setup_flags;
    uint64_t opcodes;
    unsigned outstanding; /* in the SQ or in the kernel, each owing one CQE */
    unsigned watching;    /* of these, with an immediate or endless handler */
    unsigned endless;     /* of these, with an endless handler */
    unsigned work_queued; /* of these, neither instant nor watching, and in the SQ */
    unsigned working;     /* of these, neither instant nor watching, and in the kernel */
    unsigned limit;       /* most outstanding: what the CQ holds */
    unsigned max_batch;
    bool taskrun_stale; /* the task-run flag was up although there was nothing to fetch */
    bool blocked;       /* the kernel refused a submission; wait for a completion */
    AioBacklog backlog;
    unsigned reserved;        /* requests of a chain still to be added */
    bool reserved_in_backlog; /* they go to the backlog, which keeps them together */
    CqeHandler *ready_head;
    CqeHandler **ready_tail;
    AioRingSubmitFn *submit;
    AioCounters *counters;
    AioCounters own_counters;
    AioContext *home; /* whose own ring it is, or NULL */
    AioContext *ctx;  /* where attached; NULL for a context's own ring */
    AioBh *iopoll_bh;
    int event_fd; /* registered by aio_ring_watch(), or -1 */
};

/** Tag of SQEs that owe no CQE on success, and of messages from other rings. */
#define AIO_RING_TAG_UNCOUNTED 1

static inline void aio_ring_assert_owner(const AioRing *ring)
{
    g_assert(pthread_equal(ring->owner, pthread_self()));
}

/** Copy @budget completions at most into their handlers, without entering the kernel. How many. */
unsigned aio_ring_walk(AioRing *ring, unsigned budget);

/** A descriptor that becomes readable when there is something to reap, or negative errno. */
int aio_ring_watch(AioRing *ring);
/** Take note of its signal before reaping. */
void aio_ring_clear_watch(AioRing *ring);
void aio_ring_unwatch(AioRing *ring);

/** io_uring_queue_exit(), known to the thread sanitizer. */
void aio_ring_queue_exit(struct io_uring *uring);

#endif /* SLUICE_AIO_RING_INTERNAL_H */
