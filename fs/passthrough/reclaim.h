/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Getting descriptors back: asking the kernel to forget inodes that nobody uses. */
#ifndef SLUICE_FS_PASSTHROUGH_RECLAIM_H
#define SLUICE_FS_PASSTHROUGH_RECLAIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct FsPassthrough FsPassthrough;

typedef struct FsReclaim {
    unsigned limit;           /**< descriptors the process may have */
    unsigned begin;           /**< inodes from which on reclaiming starts */
    _Atomic bool running;     /**< one helper at a time */
    _Atomic bool unsupported; /**< the kernel has no such notification (before 6.18) */
    _Atomic uint32_t next;    /**< slot to look at next */
    _Atomic uint64_t asked;   /**< inodes the kernel was asked to forget */
} FsReclaim;

/** @limit: RLIMIT_NOFILE */
void fs_reclaim_init(FsReclaim *reclaim, unsigned limit);

/** Another inode was made: start a helper if they have become many. Any thread. */
void fs_reclaim_check(FsPassthrough *pt);

/**
 * Whether an attempt that ended with @result, a descriptor or negative errno, is worth another:
 * there were too many descriptors, and the kernel has been asked to forget inodes and given some
 * time to do so. *@tries: zero at first. On a helper thread only: the kernel may write back
 * before it forgets, and waits for the workers then.
 */
bool fs_reclaim_made_room(FsPassthrough *pt, int result, unsigned *tries);

#endif /* SLUICE_FS_PASSTHROUGH_RECLAIM_H */
