/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queueing, submission and completion of requests on one io_uring.
 *
 * How it works
 *
 * A request passes through at most four places:
 *
 *     backlog -> SQ (queued) -> kernel (in flight) -> ready list -> callback
 *
 * The backlog is empty in normal operation. It takes over when the kernel
 * refuses SQEs (EAGAIN, EBUSY), or when more requests are outstanding than the
 * CQ can hold, so that completions never depend on the kernel's overflow list.
 * Order among the requests is kept: while the backlog is not empty, every new
 * request goes to its end, and it empties from its head.
 *
 * A walk of the CQ copies result and flags into the handler and releases the
 * CQ slot; callbacks run later, from aio_ring_dispatch(), which takes one
 * handler at a time off the ready list. A callback may therefore queue
 * requests, reuse its own handler or turn the loop again: a nested turn
 * continues the same list.
 *
 * With DEFER_TASKRUN (Linux 6.1) completions of asynchronous work become
 * visible only when the owner enters the kernel for events; the kernel raises
 * IORING_SQ_TASKRUN when there is something to fetch. "Is there work" is thus
 * "CQ not empty or task-run flag or overflow flag", and lives in one place,
 * aio_ring_has_completions().
 *
 * Ownership: all state belongs to the thread that made the ring. The kernel
 * enforces it (SINGLE_ISSUER, Linux 6.0), assertions do so on older kernels.
 */
#include "aio/ring-internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "aio/batch.h"
#include "aio/context-internal.h"

static unsigned ring_queued(const AioRing *ring)
{
    return io_uring_sq_ready(&ring->uring);
}

unsigned aio_ring_queued(const AioRing *ring)
{
    return ring_queued(ring) + ring->backlog.count;
}

unsigned aio_ring_in_flight(const AioRing *ring)
{
    return ring->outstanding - MIN(ring->outstanding, ring_queued(ring));
}

bool aio_ring_is_drained(const AioRing *ring)
{
    return ring->outstanding == ring->endless && ring->backlog.count == 0 && !ring->ready_head;
}

/*
 * Whether @n more requests could overflow the CQ. What the context watches
 * (polls, its wake-up) and endless requests stay outstanding and do not count:
 * any number of descriptors may be watched, and the rare burst of all of them
 * is kept by the kernel's overflow list (IORING_FEAT_NODROP).
 */
static bool ring_is_full(const AioRing *ring, unsigned n)
{
    return ring->outstanding - ring->watching + n > ring->limit;
}

static bool watches(const CqeHandler *handler)
{
    return handler->immediate || handler->endless;
}

static void ring_account(AioRing *ring, const struct io_uring_sqe *sqe)
{
    const CqeHandler *handler = (const CqeHandler *)(uintptr_t)sqe->user_data;
    if (sqe->user_data == AIO_RING_TAG_UNCOUNTED) {
        return;
    }
    ring->outstanding++;
    if (handler && watches(handler)) {
        ring->watching++;
        ring->endless += handler->endless;
    } else if (!handler || !handler->instant) {
        ring->work_queued++;
    }
}

/* The kernel has taken what was queued or, seldom, a part of it: an estimate is all it takes. */
static void ring_took_work(AioRing *ring)
{
    ring->working += ring->work_queued;
    ring->work_queued = 0;
}

void aio_ring_keep_busy(AioRing *ring)
{
    if (ring->work_queued > 0 && ring->work_queued >= ring->working && ring->reserved == 0 &&
        !ring->blocked) {
        (void)aio_ring_submit(ring);
    }
}

bool aio_ring_is_working(const AioRing *ring)
{
    return ring->work_queued > 0 || ring->working > 0 || ring->backlog.count > 0;
}

/* Move whole chains from the backlog into the SQ as far as there is room. */
static void ring_refill(AioRing *ring)
{
    while (ring->backlog.count > 0) {
        unsigned chain = aio_backlog_chain_length(&ring->backlog);
        if (io_uring_sq_space_left(&ring->uring) < chain ||
            (ring->outstanding > ring->watching && ring_is_full(ring, chain))) {
            return;
        }
        for (unsigned i = 0; i < chain; i++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
            memcpy(sqe, aio_backlog_peek(&ring->backlog, 0), ring->backlog.image_size);
            aio_backlog_pop(&ring->backlog);
            ring_account(ring, sqe);
        }
    }
}

/*
 * One pass of submission. EINTR is repeated; EAGAIN is repeated once, as it
 * may pass; whatever else leaves SQEs queued marks the ring blocked until a
 * completion has been taken.
 */
int aio_ring_submit(AioRing *ring)
{
    int result = 0;
    bool again = false;

    aio_ring_assert_owner(ring);
    ring_refill(ring);
    for (unsigned queued; (queued = ring_queued(ring)) > 0;) {
        int ret = ring->submit(&ring->uring);
        aio_counter_add(&ring->counters->enters, 1);
        if (ret == 0 && (ring->setup_flags & IORING_SETUP_SQPOLL) && ring_queued(ring) == 0) {
            ret = (int)queued; /* the kernel thread had taken them before they were counted */
        }
        if (ret > 0) {
            aio_counter_add(&ring->counters->submits, 1);
            aio_counter_add(&ring->counters->sqes, ret);
            ring->blocked = false;
            result = 0;
            ring_took_work(ring);
            if (ring->setup_flags & IORING_SETUP_SQPOLL) {
                break; /* the kernel thread takes them in its own time */
            }
            if (ring_queued(ring) == queued) {
                break;
            }
            ring_refill(ring);
            continue;
        }
        if (ret == -EINTR) {
            continue;
        }
        if (ret == -EAGAIN && !again) {
            again = true;
            continue;
        }
        ring->blocked = true;
        result = ret < 0 ? ret : -EAGAIN;
        break;
    }
    return result;
}

/* A place in the SQ, or NULL when the request must go to the backlog. */
static struct io_uring_sqe *ring_get_sqe(AioRing *ring, bool is_watch)
{
    if (ring->backlog.count > 0 || ring->reserved_in_backlog ||
        (!is_watch && ring_is_full(ring, 1))) {
        return NULL;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (!sqe && !ring->blocked) {
        (void)aio_ring_submit(ring);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    return sqe;
}

static void ring_submit_deferred(void *opaque)
{
    AioRing *ring = opaque;
    if (!ring->blocked && aio_ring_queued(ring) > 0) {
        (void)aio_ring_submit(ring);
    }
}

void aio_ring_add(AioRing *ring, AioPrepareFn *prepare, void *opaque, CqeHandler *handler)
{
    aio_ring_assert_owner(ring);
    if (handler) {
        g_assert(!handler->busy);
        handler->busy = true;
    }

    struct io_uring_sqe *sqe = ring_get_sqe(ring, handler && watches(handler));
    bool queued = sqe != NULL;
    if (queued) {
        memset(sqe, 0, ring->backlog.image_size);
    } else {
        sqe = aio_backlog_push(&ring->backlog);
        aio_counter_add(&ring->counters->backlogged, 1);
    }
    prepare(sqe, opaque);
    if (sqe->flags & IOSQE_CQE_SKIP_SUCCESS) {
        g_assert(!handler);
        sqe->user_data = AIO_RING_TAG_UNCOUNTED;
    } else {
        sqe->user_data = (uintptr_t)handler;
    }
    if (queued) {
        ring_account(ring, sqe);
    }

    if (ring->reserved > 0 && --ring->reserved == 0) {
        ring->reserved_in_backlog = false;
    }
    if (queued && ring->reserved == 0 && ring_queued(ring) >= ring->max_batch && !ring->blocked) {
        (void)aio_ring_submit(ring);
    } else if (ring->ctx) {
        aio_batch_defer(ring->ctx, ring_submit_deferred, ring);
    }
    if (ring->iopoll_bh) {
        aio_bh_schedule(ring->iopoll_bh);
    }
}

void aio_ring_reserve(AioRing *ring, unsigned n)
{
    aio_ring_assert_owner(ring);
    g_assert(n <= ring->uring.sq.ring_entries);
    g_assert(ring->reserved == 0);
    ring->reserved = n;
    if (io_uring_sq_space_left(&ring->uring) < n && !ring->blocked) {
        (void)aio_ring_submit(ring);
    }
    /* Not enough room: the backlog keeps chains together. */
    ring->reserved_in_backlog = n > 0 && (ring->backlog.count > 0 || ring_is_full(ring, n) ||
                                          io_uring_sq_space_left(&ring->uring) < n);
}

static void prepare_cancel(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_cancel(sqe, opaque, 0);
}

void aio_ring_cancel(AioRing *ring, CqeHandler *target, CqeHandler *handler)
{
    aio_ring_add(ring, prepare_cancel, target, handler);
}

typedef struct RingMessage {
    int target_fd;
} RingMessage;

static void prepare_message(struct io_uring_sqe *sqe, void *opaque)
{
    const RingMessage *message = opaque;
    io_uring_prep_msg_ring(sqe, message->target_fd, 0, AIO_RING_TAG_UNCOUNTED, 0);
}

void aio_ring_message(AioRing *ring, int target_fd, CqeHandler *handler)
{
    RingMessage message = {.target_fd = target_fd};
    aio_ring_add(ring, prepare_message, &message, handler);
}

bool aio_ring_has_completions(const AioRing *ring)
{
    if (io_uring_cq_ready(&ring->uring) > 0) {
        return true;
    }
    unsigned flags = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_RELAXED);
    if (ring->taskrun_stale) {
        flags &= ~(unsigned)IORING_SQ_TASKRUN; /* says nothing; only an enter can tell */
    }
    return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static void ring_complete(AioRing *ring, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data == AIO_RING_TAG_UNCOUNTED) {
        return;
    }
    g_assert(ring->outstanding > 0);
    ring->outstanding--;

    CqeHandler *handler = (CqeHandler *)(uintptr_t)cqe->user_data;
    if (!handler) {
        ring->working -= MIN(ring->working, 1);
        return;
    }
    handler->res = cqe->res;
    handler->flags = cqe->flags;
    if (watches(handler)) {
        ring->watching--;
        ring->endless -= handler->endless;
    } else if (!handler->instant) {
        ring->working -= MIN(ring->working, 1);
    }
    if (handler->immediate) {
        handler->busy = false;
        handler->callback(handler);
        return;
    }
    handler->next = NULL;
    *ring->ready_tail = handler;
    ring->ready_tail = &handler->next;
}

/* Take what is in the CQ now, at most @budget. */
unsigned aio_ring_walk(AioRing *ring, unsigned budget)
{
    struct io_uring_cqe *cqe;
    unsigned head, taken = 0;

    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        if (taken == budget) {
            break;
        }
        ring_complete(ring, cqe);
        taken++;
    }
    if (taken > 0) {
        io_uring_cq_advance(&ring->uring, taken);
        ring->blocked = false;
        ring->taskrun_stale = false;
        aio_counter_add(&ring->counters->reaps, 1);
        aio_counter_add(&ring->counters->cqes, taken);
    }
    return taken;
}

unsigned aio_ring_reap(AioRing *ring, unsigned budget)
{
    unsigned taken = 0;

    aio_ring_assert_owner(ring);
    if (budget == 0) {
        budget = ring->uring.cq.ring_entries;
    }
    while (taken < budget) {
        taken += aio_ring_walk(ring, budget - taken);
        unsigned flags = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_RELAXED);
        if (taken == budget || !(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))) {
            break;
        }
        if (flags & IORING_SQ_CQ_OVERFLOW) {
            aio_counter_add(&ring->counters->cq_overflows, 1);
        }
        aio_counter_add(&ring->counters->enters, 1);
        if (io_uring_get_events(&ring->uring) < 0) {
            break;
        }
        /*
         * The kernel raises the task-run flag after it has queued the work,
         * so the flag may outlive work that was run in between: nothing clears
         * it before the next work. Do not wait for that here, and do not let
         * it keep the loop awake (aio_ring_has_completions()).
         */
        if (io_uring_cq_ready(&ring->uring) == 0) {
            flags = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_RELAXED);
            ring->taskrun_stale = flags & IORING_SQ_TASKRUN;
            break;
        }
    }
    return taken;
}

/* The kernel refused SQEs and holds none: give it a moment. */
static void ring_pause(int64_t timeout_ns)
{
    const int64_t pause_ns = 1000 * 1000;
    struct timespec ts = {
        .tv_nsec = timeout_ns < 0 ? pause_ns : MIN(timeout_ns, pause_ns),
    };
    clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* One enter that submits all and waits for one completion. 0 or negative errno. */
static int ring_submit_and_wait(AioRing *ring, int64_t timeout_ns)
{
    unsigned queued = ring_queued(ring);
    int ret;

    if (timeout_ns < 0) {
        ret = io_uring_submit_and_wait(&ring->uring, 1);
    } else {
        struct __kernel_timespec ts = {
            .tv_sec = timeout_ns / G_GINT64_CONSTANT(1000000000),
            .tv_nsec = timeout_ns % G_GINT64_CONSTANT(1000000000),
        };
        struct io_uring_cqe *cqe;
        ret = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &ts, NULL);
    }
    aio_counter_add(&ring->counters->enters, 1);
    if (queued > 0) {
        unsigned accepted = queued - MIN(queued, ring_queued(ring));
        if (ring->setup_flags & IORING_SETUP_SQPOLL) {
            accepted = queued;
        }
        if (accepted > 0) {
            aio_counter_add(&ring->counters->submits, 1);
            aio_counter_add(&ring->counters->sqes, accepted);
            ring_took_work(ring);
        }
    }
    return ret < 0 ? ret : 0;
}

int aio_ring_wait(AioRing *ring, int64_t timeout_ns)
{
    unsigned taken = 0;

    aio_ring_assert_owner(ring);
    /* Submit separately where a test watches submissions or the pass must retry. */
    if (timeout_ns == 0 || ring->submit != io_uring_submit || ring->blocked ||
        io_uring_cq_ready(&ring->uring) > 0) {
        int ret = aio_ring_submit(ring);
        taken = aio_ring_reap(ring, 0);
        if (taken > 0 || timeout_ns == 0) {
            return (int)taken;
        }
        if (ret < 0 && aio_ring_in_flight(ring) == 0) {
            ring_pause(timeout_ns);
            return ret;
        }
    } else {
        ring_refill(ring);
    }

    int64_t deadline_ns = 0;
    if (timeout_ns > 0) {
        /* the context has just read the clock to find out how long it may wait */
        deadline_ns = (ring->home ? aio_context_now(ring->home) : aio_clock_ns()) + timeout_ns;
    }
    for (;;) {
        int ret = ring_submit_and_wait(ring, timeout_ns);
        taken = aio_ring_reap(ring, 0);
        if (taken > 0 || ret == -ETIME) {
            return (int)taken;
        }
        if (ret < 0 && ret != -EINTR) {
            ring->blocked = ring_queued(ring) > 0;
            if (aio_ring_in_flight(ring) == 0) {
                ring_pause(timeout_ns);
            }
            return ret;
        }
        if (timeout_ns > 0) {
            timeout_ns = deadline_ns - aio_clock_ns();
            if (timeout_ns <= 0) {
                return 0;
            }
        }
    }
}

bool aio_ring_is_ready(const AioRing *ring)
{
    return ring->ready_head != NULL;
}

bool aio_ring_dispatch(AioRing *ring)
{
    bool progress = false;

    while (ring->ready_head) {
        CqeHandler *handler = ring->ready_head;
        ring->ready_head = handler->next;
        if (!ring->ready_head) {
            ring->ready_tail = &ring->ready_head;
        }
        handler->busy = false;
        progress = true;
        handler->callback(handler);
    }
    return progress;
}

void aio_ring_free(AioRing *ring)
{
    if (!ring) {
        return;
    }
    aio_ring_assert_owner(ring);
    while (!aio_ring_is_drained(ring)) {
        if (!ring->ready_head) {
            (void)aio_ring_wait(ring, -1);
        }
        aio_ring_dispatch(ring);
    }
    if (ring->ctx) {
        aio_ring_detach(ring);
    }
    aio_ring_unwatch(ring);
    aio_ring_queue_exit(&ring->uring);
    aio_backlog_fini(&ring->backlog);
    g_free(ring);
}
