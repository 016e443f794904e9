/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inside of FUSE over io_uring.
 *
 *   uring.c        requests and their answers, the transport's life
 *   uring-entry.c  what is given to the kernel and comes back
 *   uring-memory.c what entries hold, and when they give it back
 *   uring-still.c  queues that stand still
 *
 * All of it is the worker's thread's, except those fields that say otherwise
 * and the buffer of an entry with a request (uring-entry.c).
 */
#ifndef SLUICE_FS_TRANSPORT_URING_INTERNAL_H
#define SLUICE_FS_TRANSPORT_URING_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>

#include "aio/bh.h"
#include "aio/ring.h"
#include "aio/timer.h"
#include "fs/session/kernel-abi.h"
#include "fs/transport/placement.h"
#include "fs/transport/stall.h"
#include "fs/transport/uring.h"

typedef enum FsUringEntryState {
    FS_URING_IN_KERNEL,
    FS_URING_WITH_REQUEST,
    FS_URING_DEAD
} FsUringEntryState;

/** CqeHandler.res of an entry that the kernel has, until its completion is taken. */
#define FS_URING_NOT_BACK INT32_MIN

typedef struct FsUring FsUring;

typedef struct FsUringQueue {
    FsStall stall;
    unsigned number;
    unsigned entries;   /* registered and not known to be dead */
    unsigned offloaded; /* of them with a request that a helper has */
    bool unreachable;   /* by nudges, and the log knows */
} FsUringQueue;

typedef struct FsUringEntry {
    CqeHandler fetch; /* REGISTER or COMMIT_AND_FETCH */
    FsUring *uring;
    FsUringQueue *queue;            /* NULL: the entry that turns the mode off */
    struct FsUringEntry *next;      /* all entries */
    struct FsUringEntry *next_held; /* waiting or answered list */
    struct fs_fuse_uring_header *header;
    char *payload;
    struct iovec iov[2]; /* both, for REGISTER */
    uint64_t commit_id;
    uint64_t commit_number; /* for FsStall */
    uint64_t nodeid;        /* of the request */
    bool offloaded;         /* the request is with a helper */
    size_t touched;         /* bytes of the payload that may have pages */
    GList lent;             /* in FsUring.lent, if is_lent */
    bool is_lent;
    FsUringEntryState state;
    bool registered;  /* the kernel has filled it once */
    bool interrupted; /* while it waits: the request is to be */
} FsUringEntry;

struct FsUring {
    FsTransport base;
    CqeHandlerFn *entry_done; /* an entry has come back */
    AioContext *ctx;
    AioRing *ring;
    FsUringParams params;
    int device_fd;
    int device_slot; /* in the ring's file table; -1: not there */
    size_t payload_size;
    size_t page;
    FsUringQueue *queues;
    unsigned queue_count;
    FsUringEntry *entries;
    FsUringEntry *waiting; /* have a request that the worker cannot take yet; first in first out */
    FsUringEntry **waiting_tail;
    AioBh *answered_bh;
    unsigned depth;
    FsPlacement placement;
    unsigned turn_requests; /* that came since the turn began */
    int64_t turn_at;        /* when the first of them was taken, and with it all */
    AioTimer tick;
    AioTimer trim_again;
    bool can_trim; /* the kernel copies in our system calls only */
    AioBh *give_back_bh;
    GQueue lent;                /* entries in the kernel that may have pages, the last used first */
    _Atomic(size_t) lent_bytes; /* of them that have many; written by the worker */
    FsUring *next_user;         /* of the memory; guarded by its lock */
    uint64_t nudges;
    uint64_t file_nodeid; /* a regular file that had a request; 0: none yet */
    bool refused;
    bool was_broken;
    _Atomic(bool) stopped;            /* written by the worker */
    _Atomic(FsUringEntry *) answered; /* by other threads */
    _Atomic(uint64_t) fetched;        /* written by the worker */
};

static inline bool fs_uring_is_stopped(const FsUring *uring)
{
    return atomic_load_explicit(&uring->stopped, memory_order_relaxed);
}

/** What the end of the connection looks like. */
static inline bool fs_uring_is_end(int result)
{
    return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED ||
           result == -ENOENT || result == -ENODEV;
}

/* --- uring-entry.c --- */

/** Register one more entry for @queue. False: no memory. */
bool fs_uring_add_entry(FsUring *uring, FsUringQueue *queue);

/** Give the answer in the entry's buffer to the kernel, and wait for the next request. */
void fs_uring_commit(FsUringEntry *entry);

/** Have the kernel refuse something, so that it turns to the device. */
void fs_uring_turn_off(FsUring *uring);

/** Free all entries. Any thread, after the ring. */
void fs_uring_free_entries(FsUring *uring);

/* --- uring-memory.c --- */

/** At least the first @bytes of the payload are or will be used. Whoever has the request. */
void fs_uring_touch(FsUringEntry *entry, size_t bytes);

/** The entry has been given to the kernel: queued in the ring. */
void fs_uring_lend(FsUringEntry *entry);

/** It has come back. */
void fs_uring_take_back(FsUringEntry *entry);

/** Give back what is above the mount's limit. FsUring; once it has been submitted. */
void fs_uring_give_back(void *opaque);

/** Give back what an idle worker has. False: not now, something may be on its way into an entry. */
bool fs_uring_trim(FsUring *uring);

/** Whether requests alone hold as much as is allowed. */
bool fs_uring_memory_is_short(const FsUring *uring);

/** Begin and end to share FsUringParams.memory. */
void fs_uring_memory_join(FsUring *uring);
void fs_uring_memory_leave(FsUring *uring);

/* --- uring-still.c --- */

/** An entry of @queue has come back or been added: look after it, if requests may wait in it. */
void fs_uring_watch(FsUring *uring, const FsUringQueue *queue);

/** FsUring.tick. */
void fs_uring_tick(AioTimer *timer);

#endif /* SLUICE_FS_TRANSPORT_URING_INTERNAL_H */
