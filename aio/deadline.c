/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deadlines that the ring of a context carries, so that its waits need no timeout of their own.
 *
 * How it works
 *
 * A wait with a timeout costs a reading of the clock, to know how long, and a timer of the kernel
 * that is started and cancelled, in each turn. So the ring gets a TIMEOUT request for the first
 * timer's deadline instead: its completion ends whatever wait is then going on, and until it comes
 * no timer is due.
 *
 * Deadlines move. When the first one has become later, the request stays, fires early, and the
 * next wait adds one for what is first then: a timer that is put off again and again costs one SQE
 * for each of its periods. When it has become earlier, there is another request beside the one
 * that is too late, up to AIO_DEADLINES of them. A wait has a timeout of its own when all of them
 * are taken, when the deadline is near (NEAR_NS), and when the kernel does not take requests: what
 * waits in the ring's backlog ends no wait.
 *
 * Requests say how long from now, since a point in time means another one to the kernel in a time
 * namespace. So they fire late by what it takes to submit them, and never early.
 */
#include "aio/context-internal.h"

#include <errno.h>

#include "aio/ring-internal.h"

#define SECOND_NS INT64_C(1000000000)

/** A deadline this near is not worth a request: few turns are left that it could serve. */
#define NEAR_NS (INT64_C(100) * 1000)

void aio_deadlines_init(AioContext *ctx)
{
    for (unsigned i = 0; i < AIO_DEADLINES; i++) {
        ctx->deadlines[i].ctx = ctx;
    }
    ctx->carried_ns = INT64_MAX;
}

static void find_carried(AioContext *ctx)
{
    ctx->carried_ns = INT64_MAX;
    for (unsigned i = 0; i < AIO_DEADLINES; i++) {
        if (ctx->deadlines[i].armed) {
            ctx->carried_ns = MIN(ctx->carried_ns, ctx->deadlines[i].deadline_ns);
        }
    }
}

/* Inside the CQ walk. */
static void deadline_done(CqeHandler *cqe)
{
    AioDeadline *deadline = aio_container_of(cqe, AioDeadline, cqe);
    AioContext *ctx = deadline->ctx;

    deadline->armed = false;
    if (cqe->res != -ETIME && cqe->res != -ECANCELED) {
        ctx->deadlines_refused = true;
    }
    find_carried(ctx);
}

static void prepare_timeout(struct io_uring_sqe *sqe, void *opaque)
{
    AioDeadline *deadline = opaque;
    io_uring_prep_timeout(sqe, &deadline->ts, 0, 0);
}

static void deadline_arm(AioDeadline *deadline, int64_t deadline_ns, int64_t left_ns)
{
    deadline->armed = true;
    deadline->deadline_ns = deadline_ns;
    deadline->ts = (struct __kernel_timespec){
        .tv_sec = left_ns / SECOND_NS,
        .tv_nsec = left_ns % SECOND_NS,
    };
    deadline->cqe.callback = deadline_done;
    deadline->cqe.immediate = true;
    aio_ring_add(deadline->ctx->ring, prepare_timeout, deadline, &deadline->cqe);
}

static bool ring_flows(const AioRing *ring)
{
    return !ring->blocked && ring->backlog.count == 0;
}

bool aio_deadline_is_carried(AioContext *ctx, int64_t deadline_ns)
{
    /* With a stale task-run flag nobody sees a completion before the next enter. */
    return ctx->ring && ctx->carried_ns <= deadline_ns && ring_flows(ctx->ring) &&
           !ctx->ring->taskrun_stale;
}

bool aio_deadline_carry(AioContext *ctx, int64_t deadline_ns, int64_t left_ns)
{
    if (deadline_ns < 0) {
        return false; /* the timer has gone since the timeout was found */
    }
    if (ctx->carried_ns <= deadline_ns) {
        return ring_flows(ctx->ring);
    }
    if (left_ns < NEAR_NS || ctx->deadlines_refused || !ring_flows(ctx->ring) ||
        !aio_ring_has_opcode(ctx->ring, IORING_OP_TIMEOUT)) {
        return false;
    }
    for (unsigned i = 0; i < AIO_DEADLINES; i++) {
        if (!ctx->deadlines[i].armed) {
            deadline_arm(&ctx->deadlines[i], deadline_ns, left_ns);
            find_carried(ctx);
            return ring_flows(ctx->ring);
        }
    }
    return false;
}

void aio_deadlines_fini(AioContext *ctx)
{
    for (unsigned i = 0; i < AIO_DEADLINES; i++) {
        if (ctx->deadlines[i].armed) {
            aio_ring_cancel(ctx->ring, &ctx->deadlines[i].cqe, NULL);
        }
    }
    while (ctx->carried_ns != INT64_MAX) {
        (void)aio_ring_wait(ctx->ring, -1);
    }
}
