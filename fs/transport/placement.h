/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Where the worker of some queues of FUSE over io_uring runs, and when.
 *
 * How it works
 *
 * Where: on the CPUs whose queues it serves. A request is in the queue of the
 * CPU that its caller is on; a worker that runs there is switched to where the
 * caller goes to sleep, and back, and no other CPU has to be woken.
 *
 * When: on one CPU, behind its callers (background.h). Where that is not to be
 * had, the kernel's wake-up of the worker interrupts its caller at once. That
 * is right for a caller that waits for each answer, and wrong for one that has
 * more requests to make: each then costs two switches, and none travels with
 * another. With SCHED_BATCH the worker does not interrupt; it runs when the
 * caller sleeps, and finds all its requests. It is used as long as turns then
 * bring more than one request, and tried once in a while (burst.h).
 *
 * Who sets this thread's CPUs (taskset) or policy (chrt) later has the last
 * word: from then on it is left alone.
 *
 * All functions are for the worker's thread.
 */
#ifndef SLUICE_FS_TRANSPORT_PLACEMENT_H
#define SLUICE_FS_TRANSPORT_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include <sched.h>

#include "fs/transport/background.h"
#include "fs/transport/burst.h"

/** All zero: the worker runs anywhere. */
typedef struct FsPlacement {
    cpu_set_t *cpus; /* NULL: anywhere */
    size_t size;     /* bytes at cpus */
    enum {
        FS_PLACE_NONE, /* not gone there yet */
        FS_PLACE_THERE,
        FS_PLACE_OFFLINE, /* moved by the kernel: all CPUs had gone offline */
    } place;
    unsigned online; /* CPUs that were online at the start; 0: not known */
    bool may_wait;   /* SCHED_BATCH is allowed */
    bool patient;    /* it is on */
    bool on_one;     /* one CPU, where it may run behind its callers */
    FsBackground background;
    FsBurst burst;
    unsigned until_look; /* requests until it looks where it is */
} FsPlacement;

/**
 * Where a worker shall run that serves @queues of @all_queues, from its first
 * turn on, as far as it may run there now. It stays as it is where all queues
 * are its own, or there is no memory.
 */
void fs_placement_init(FsPlacement *placement, const unsigned *queues, unsigned count,
                       unsigned all_queues);

/**
 * A turn is over that brought @requests and began at @now (nanoseconds, monotonic clock).
 * Whether the thread runs behind its callers from here on: whom it wakes interrupts it.
 */
bool fs_placement_turn(FsPlacement *placement, unsigned requests, int64_t now);

void fs_placement_fini(FsPlacement *placement);

#endif /* SLUICE_FS_TRANSPORT_PLACEMENT_H */
