/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues of FUSE over io_uring that stand still: they get an entry and a nudge.
 *
 * How it works: requests that wait for a lock must not keep out the unlock. When
 * the last entry of a queue has been filled, or one added, a timer looks at it until stall.h
 * finds that nothing waits there; nudge.h tells why an entry alone is not enough.
 */
#include "fs/transport/nudge.h"
#include "fs/transport/uring-internal.h"

/** How often a queue is looked at in which requests may wait. */
#define TICK_NS (INT64_C(1000) * 1000)
/** How often where nothing could be done about it. */
#define PATIENT_NS (INT64_C(100) * 1000 * 1000)
/** Files tried for a nudge. */
#define NUDGE_TRIES 8

void fs_uring_watch(FsUring *uring, const FsUringQueue *queue)
{
    if (queue->stall.exhausted && !aio_timer_is_armed(&uring->tick)) {
        aio_timer_arm_after(&uring->tick, TICK_NS);
    }
}

/** Files that the kernel may know, those with a waiting request first. */
static unsigned nudge_candidates(const FsUring *uring, const FsUringQueue *queue, uint64_t *nodeids)
{
    unsigned count = 0;

    if (uring->file_nodeid != 0) {
        nodeids[count++] = uring->file_nodeid;
    }
    for (const FsUringEntry *entry = uring->entries; entry != NULL && count < NUDGE_TRIES;
         entry = entry->next) {
        if (entry->state == FS_URING_WITH_REQUEST && entry->queue == queue &&
            (count == 0 || entry->nodeid != nodeids[count - 1])) {
            nodeids[count++] = entry->nodeid;
        }
    }
    return count;
}

/** Have the kernel look at @queue, which has an entry for that. */
static bool nudge(FsUring *uring, FsUringQueue *queue)
{
    uint64_t nodeids[NUDGE_TRIES];
    const unsigned count = nudge_candidates(uring, queue, nodeids);

    (void)aio_ring_submit(uring->ring); /* the entry first */
    uring->nudges++;
    int result = fs_nudge_send(uring->device_fd, queue->number, nodeids, count,
                               ((uint64_t)(uintptr_t)queue << 16) + (uring->nudges << 1));
    if (result < 0 && count > 0 && !queue->unreachable && !fs_uring_is_end(result)) {
        queue->unreachable = true;
        g_message("cannot nudge queue %u of FUSE over io_uring, requests may wait longer in it: %s",
                  queue->number, g_strerror(-result));
    }
    return result == 0;
}

/** Whether requests have entries of @queue that are with neither a helper nor for a lock. */
static bool answers_are_due(const FsUringQueue *queue)
{
    return queue->entries > queue->stall.in_kernel + queue->offloaded;
}

void fs_uring_tick(AioTimer *timer)
{
    FsUring *uring = aio_container_of(timer, FsUring, tick);
    bool again = false;
    int64_t pause = TICK_NS;
    const int64_t now_ns = aio_context_now(uring->ctx);

    for (unsigned i = 0; i < uring->queue_count; i++) {
        FsUringQueue *queue = &uring->queues[i];
        unsigned actions = 0;

        if (uring->waiting == NULL) { /* otherwise the worker is full, and more entries no use */
            actions = fs_stall_tick(&queue->stall, now_ns,
                                    answers_are_due(queue) && fs_uring_memory_is_short(uring));
        }
        if ((actions & FS_STALL_ADD) && !fs_uring_add_entry(uring, queue)) {
            pause = PATIENT_NS; /* no memory now */
        } else if ((actions & FS_STALL_NUDGE) && !nudge(uring, queue)) {
            pause = PATIENT_NS;
        }
        again = again || queue->stall.exhausted;
    }
    if (again) {
        aio_timer_arm_after(timer, pause);
    }
}
