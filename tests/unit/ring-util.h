/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Requests for tests of the ring: those that do nothing, and any that an SQE describes. */
#ifndef SLUICE_TESTS_RING_UTIL_H
#define SLUICE_TESTS_RING_UTIL_H

#include <stdbool.h>

#include <glib.h>

#include "aio/context.h"
#include "aio/ring.h"

/** An AioPrepareFn of a request that does nothing. */
void prepare_nop(struct io_uring_sqe *sqe, void *opaque);

/** A request that does nothing and counts that it is done. */
typedef struct Nop {
    CqeHandler cqe;
    unsigned index;
    unsigned *done;
    GArray *order; /* where its index goes, or NULL */
} Nop;

/** @n of them, to be prepared by prepare_nop() and freed with g_free(). */
Nop *nops_new(unsigned n, unsigned *done, GArray *order);

/** A context with a ring of this size, whatever the monitor of this run; 0 is the default. */
AioContext *small_context_new(unsigned entries, unsigned cq_entries);

/** Nothing of the callers' is left; the loop's own requests have been submitted. */
void assert_quiescent(AioRing *ring);

/** A request described by a closure over one SQE. */
typedef struct Op {
    CqeHandler cqe;
    struct io_uring_sqe sqe;
    bool done;
    unsigned order; /* of completion, among all of this program */
} Op;

/** The callback of its handler, which op_add() sets. */
void op_done(CqeHandler *handler);

/** Queue what @op->sqe says. */
void op_add(AioRing *ring, Op *op);

/** The same, and turn @ctx until it is done. */
void op_run(AioContext *ctx, AioRing *ring, Op *op);

#endif /* SLUICE_TESTS_RING_UTIL_H */
