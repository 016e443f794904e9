/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A descriptor handler for tests of the loop that counts its callbacks. */
#ifndef SLUICE_TESTS_CONTEXT_PROBE_H
#define SLUICE_TESTS_CONTEXT_PROBE_H

#include <stdbool.h>

#include <glib.h>

#include "aio/context.h"
#include "aio/handler.h"

/** A handler of an eventfd that counts its callbacks and logs them. */
typedef struct Probe {
    AioContext *ctx;
    int fd;
    GString *order;   /* where the callbacks log, unless it is NULL */
    bool has_work;    /* what the poll check says */
    bool work_at_end; /* work that appears inside poll_end */
    unsigned reads, writes, polls, ready, begins, ends;
} Probe;

/* The callbacks, for an AioFdOps. */
void probe_read(void *opaque);
void probe_write(void *opaque);
bool probe_poll(void *opaque);
void probe_poll_ready(void *opaque);

/** All that poll mode calls. */
extern const AioFdOps polled_ops;

/** Register a new eventfd with @ops. */
void probe_init(Probe *probe, AioContext *ctx, const AioFdOps *ops);

/** The same, and turn @ctx until it has been ready and was read once. */
void probe_init_read(Probe *probe, AioContext *ctx, const AioFdOps *ops);

/** Remove the handler and close the eventfd. */
void probe_fini(Probe *probe);

/** Make the eventfd readable. */
void probe_kick(Probe *probe);

#endif /* SLUICE_TESTS_CONTEXT_PROBE_H */
