/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A worker that runs behind its clients: SCHED_IDLE.
 *
 * How it works
 *
 * A client that waits for its answer and the worker that gives it are one line
 * of work, and its cheapest place is one CPU. But when the worker answers it is
 * still running, so the kernel wakes the client on another CPU, if one is idle:
 * an interrupt between CPUs there, and another with the next request back. On
 * a virtual machine each takes tens of microseconds. A CPU that runs nothing but
 * SCHED_IDLE threads counts as idle: the client stays, interrupts the worker at
 * once, and has asked again when the worker goes on.
 *
 * Such a thread gets next to nothing where others want its CPU. So it watches how
 * long it is kept waiting (starvation.h) and goes back to the usual policy in time.
 * It needs the right to go back (CAP_SYS_NICE or RLIMIT_NICE), which is tried on a
 * thread that ends. Threads of io_uring that the kernel starts for it inherit the
 * policy; they are given back the usual one.
 *
 * Its event loop polls, if it does, only for what others do for it meanwhile (aio/poll.h).
 *
 * Who sets this thread's policy (chrt) has the last word: it is left alone then.
 *
 * All functions are for the worker's thread.
 */
#ifndef SLUICE_FS_TRANSPORT_BACKGROUND_H
#define SLUICE_FS_TRANSPORT_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/transport/starvation.h"

typedef struct FsBackground {
    int schedstat_fd; /* negative: not to be had */
    bool on;
    bool spins;      /* constant */
    nlink_t threads; /* links of /proc/self/task when it was last looked through */
    unsigned looks;  /* at them */
    unsigned rest;   /* turns until they are looked at once more, after it has ended; 0: done */
    FsStarvation starvation;
} FsBackground;

/**
 * Off, and whether it is to be had is found out. @spins: while it is on, also an event loop spins
 * that otherwise does so for nothing (AIO_POLL_NOTHING).
 */
void fs_background_init(FsBackground *background, bool spins);

/** Whether it is on, or may be tried at @now (nanoseconds of the monotonic clock). */
bool fs_background_is_open(const FsBackground *background, int64_t now);

/** Run behind the clients from now on, if it is open. Whether it does. */
bool fs_background_enter(FsBackground *background, int64_t now);

/** Back to the usual policy. */
void fs_background_leave(FsBackground *background);

/** A turn with @requests is over, also where it is not on; may leave. Whether it is still on. */
bool fs_background_turn(FsBackground *background, int64_t now, unsigned requests);

/** Leaves. */
void fs_background_fini(FsBackground *background);

#endif /* SLUICE_FS_TRANSPORT_BACKGROUND_H */
