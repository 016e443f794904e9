/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests for tests of the ring: see ring-util.h. */
#include "ring-util.h"

#include <string.h>

#include "aio/ring-internal.h"
#include "util.h"

void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

static void nop_done(CqeHandler *handler)
{
    Nop *nop = aio_container_of(handler, Nop, cqe);
    g_assert_cmpint(handler->res, ==, 0);
    (*nop->done)++;
    if (nop->order) {
        g_array_append_val(nop->order, nop->index);
    }
}

Nop *nops_new(unsigned n, unsigned *done, GArray *order)
{
    Nop *nops = g_new0(Nop, n);
    for (unsigned i = 0; i < n; i++) {
        nops[i].cqe.callback = nop_done;
        nops[i].index = i;
        nops[i].done = done;
        nops[i].order = order;
    }
    return nops;
}

AioContext *small_context_new(unsigned entries, unsigned cq_entries)
{
    AioContextParams params;
    test_context_params(&params);
    params.monitor = AIO_MONITOR_URING;
    params.ring.entries = entries;
    params.ring.cq_entries = cq_entries;
    GError *error = NULL;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    return ctx;
}

void assert_quiescent(AioRing *ring)
{
    while (aio_ring_queued(ring) > 0) {
        aio_context_poll(aio_context_current(), false);
    }
    g_assert_cmpuint(aio_ring_queued(ring), ==, 0);
    g_assert_cmpuint(ring->backlog.count, ==, 0);
    g_assert_false(aio_ring_is_ready(ring));
}

static unsigned completions; /* of Ops */

static void op_prepare(struct io_uring_sqe *sqe, void *opaque)
{
    memcpy(sqe, &((Op *)opaque)->sqe, sizeof(*sqe));
}

void op_done(CqeHandler *handler)
{
    Op *op = aio_container_of(handler, Op, cqe);
    op->done = true;
    op->order = ++completions;
}

void op_add(AioRing *ring, Op *op)
{
    op->cqe.callback = op_done;
    op->done = false;
    aio_ring_add(ring, op_prepare, op, &op->cqe);
}

void op_run(AioContext *ctx, AioRing *ring, Op *op)
{
    op_add(ring, op);
    test_poll_until(ctx, op->done);
}
