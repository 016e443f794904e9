/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A worker of the device transport that follows its client to its CPU.
 *
 * How it works
 *
 * Requests of all clients come by one queue; nothing tells the scheduler that
 * the worker belongs to this one. So they sit on two CPUs, and each request and
 * each answer wakes the other (background.h says what that costs). While
 * requests come one at a time, each after the answer to the one before, the
 * worker looks where the thread that makes them runs (/proc), goes there, and
 * stays behind it. Then the next request is there when an answer has been
 * written. When it is not, for some turns, the scheduler may have moved the
 * client, and the worker looks again. When several requests are in flight it
 * goes home: then two CPUs do more than one.
 *
 * Who sets this thread's CPUs (taskset) or policy (chrt) has the last word: it
 * follows nobody from then on.
 *
 * All functions are for the worker's thread.
 */
#ifndef SLUICE_FS_TRANSPORT_FOLLOW_H
#define SLUICE_FS_TRANSPORT_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <sched.h>

#include "fs/transport/background.h"

/** All zero: it follows nobody. */
typedef struct FsFollow {
    cpu_set_t *home; /* NULL: it follows nobody */
    size_t size;     /* bytes at home */
    bool away;
    unsigned cpu;      /* where it is, if away */
    unsigned alone;    /* requests in a row that came alone */
    unsigned together; /* evidence that requests come together */
    unsigned apart;    /* turns in a row that brought one request only ... */
    unsigned patience; /* ... and how many of them make it look where the client is */
    FsBackground background;
} FsFollow;

/** From now on; nothing happens where the rights for it are missing. */
void fs_follow_init(FsFollow *follow);

/**
 * Requests were taken, the last of them made by the thread @client (0: not known).
 * @alone: none of them while another was in flight; @now: monotonic clock, nanoseconds
 */
void fs_follow_turn(FsFollow *follow, unsigned requests, bool alone, pid_t client, int64_t now);

/** Requests were taken that nobody waits for, and no others. */
void fs_follow_unasked(FsFollow *follow, unsigned requests, int64_t now);

/** Nothing has come for a while, or no more will. */
void fs_follow_go_home(FsFollow *follow);

void fs_follow_fini(FsFollow *follow);

/** The CPU that thread @thread is on, or was last. Negative: not known. Any thread. */
int fs_follow_cpu_of(pid_t thread);

#endif /* SLUICE_FS_TRANSPORT_FOLLOW_H */
