/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Finds out when requests wait in a queue of FUSE over io_uring that nobody
 * would take out any more: pure policy.
 *
 * How it works
 *
 * The kernel fills an entry when a request arrives, or when an answer is
 * committed and requests wait. Registering an entry does not take what waits,
 * so a queue may have both, waiting requests and a free entry. That is no harm
 * as long as answers follow; but an answer may itself wait for a request that
 * waits here, as a lock waits for the unlock.
 *
 * Requests may wait from the moment when the last entry in the kernel was
 * filled ("exhausted"), and before an entry was registered: those that were
 * there may all have been filled by then, though the owner has not seen it. That
 * they do not is proved by an entry that was committed last, after that, and is
 * still in the kernel a tick later. Without progress or proof for a tick, the
 * queue needs a nudge, which is a request of no meaning whose answer is
 * committed at once, and before that an entry for it.
 *
 * Where answers are due by themselves, it is most likely a disk that the queue waits for. Then the
 * owner may say that it is patient, because each entry is memory: the queue gets the same only
 * after FS_STALL_PATIENCE_NS without an answer.
 */
#ifndef SLUICE_FS_TRANSPORT_STALL_H
#define SLUICE_FS_TRANSPORT_STALL_H

#include <stdbool.h>
#include <stdint.h>

/** How long a queue may stand still whose owner is patient. */
#define FS_STALL_PATIENCE_NS (INT64_C(100) * 1000 * 1000)

typedef struct FsStall {
    unsigned in_kernel; /**< entries */
    bool exhausted;     /**< requests may wait */
    bool last_stays;    /**< what was committed last, after all were registered, is in the kernel */
    uint64_t commits;   /**< ever */
    uint64_t commits_before;
    int64_t still_since; /**< time of the first tick without progress; 0: none yet */
} FsStall;

typedef enum FsStallAction {
    FS_STALL_ADD = 1u << 0,   /**< register an entry, then */
    FS_STALL_NUDGE = 1u << 1, /**< make a request */
} FsStallAction;

void fs_stall_init(FsStall *stall);

/** An entry has been registered. */
void fs_stall_registered(FsStall *stall);

/** An entry has been committed. Returns a number for fs_stall_filled(), never 0. */
uint64_t fs_stall_committed(FsStall *stall);

/** The kernel has given an entry back; @number: of its commit, 0: it was new. */
void fs_stall_filled(FsStall *stall, uint64_t number);

/**
 * A while has passed: what to do (FsStallAction). Only of use while exhausted.
 *
 * @now_ns: any clock that goes forward, never 0
 * @patient: answers are due, and more entries are not wanted
 */
unsigned fs_stall_tick(FsStall *stall, int64_t now_ns, bool patient);

#endif /* SLUICE_FS_TRANSPORT_STALL_H */
