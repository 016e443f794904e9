/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What it costs a thread to have SCHED_IDLE: an account, pure.
 *
 * How it works
 *
 * The kernel counts how long a thread was ready to run and did not (run delay).
 * That is looked at once in FS_STARVATION_LOOK_NS while requests come. A client
 * that interrupts the thread and asks again costs a request some microseconds;
 * another program that wants the CPU costs it a slice, some milliseconds. What
 * exceeds FS_STARVATION_FREE_NS for a request is lost. When a few milliseconds
 * are lost a pause begins, so long that what was lost is one part in 64 of it,
 * and twice as long whenever the try before had failed soon as well.
 */
#ifndef SLUICE_FS_TRANSPORT_STARVATION_H
#define SLUICE_FS_TRANSPORT_STARVATION_H

#include <stdbool.h>
#include <stdint.h>

/** Times are in nanoseconds. */
#define FS_STARVATION_LOOK_NS      (INT64_C(4) * 1000 * 1000)
#define FS_STARVATION_FREE_NS      (INT64_C(100) * 1000) /**< delay that a request may have */
#define FS_STARVATION_LOST_NS      (INT64_C(8) * 1000 * 1000)
#define FS_STARVATION_SHARE        64 /**< of the time may be lost: one part in so many */
#define FS_STARVATION_SOON_NS      (INT64_C(1000) * 1000 * 1000)
#define FS_STARVATION_PAUSE_MAX_NS (INT64_C(64) * 1000 * 1000 * 1000)

/** All zero at the start: no pause. */
typedef struct FsStarvation {
    int64_t begun_at;
    int64_t looked_at;
    uint64_t delay_ns; /**< run delay at that time */
    uint64_t requests; /**< since then */
    int64_t lost_ns;
    unsigned failures; /**< tries in a row that ended soon */
    int64_t until_ns;  /**< the end of the pause */
} FsStarvation;

/** It has SCHED_IDLE from @now on, with a run delay of @delay_ns. */
void fs_starvation_begin(FsStarvation *account, int64_t now, uint64_t delay_ns);

/** Another @requests were served. Whether it is time for fs_starvation_look(). */
bool fs_starvation_count(FsStarvation *account, int64_t now, unsigned requests);

/** The run delay is now @delay_ns. False: it costs too much, a pause begins. */
bool fs_starvation_look(FsStarvation *account, int64_t now, uint64_t delay_ns);

/** Whether no pause is on. */
bool fs_starvation_is_over(const FsStarvation *account, int64_t now);

#endif /* SLUICE_FS_TRANSPORT_STARVATION_H */
