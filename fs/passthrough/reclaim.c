/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Reclaiming descriptors.
 *
 * How it works: each inode the kernel knows costs us a descriptor, and the
 * kernel forgets only when its memory gets short. When inodes take 3/4 of
 * the limit, a helper goes through the slots like the hand of a clock and
 * names those without an open handle to the kernel (FUSE_NOTIFY_PRUNE, Linux
 * 6.18). The kernel drops what it does not use and sends FORGET for it; what
 * is in use it keeps, so no choice made here can do harm. A directory
 * is dropped once its children are, some rounds later.
 */
#include "fs/passthrough/reclaim.h"

#include <errno.h>

#include "fs/passthrough/operations.h"
#include "fs/session/kernel-abi.h"

#define BATCH           256
#define WAIT_STEP_US    2000
#define WAIT_STEPS_MOST 100

void fs_reclaim_init(FsReclaim *reclaim, unsigned limit)
{
    reclaim->limit = limit;
    reclaim->begin = limit - limit / 4;
}

/* Name @count nodes to the kernel. False: it does not understand. */
static bool ask_to_forget(FsPassthrough *pt, const uint64_t *nodes, uint32_t count)
{
    struct fs_fuse_notify_prune_out prune = {.count = count};
    const struct iovec body[] = {
        {&prune, sizeof(prune)},
        {(void *)nodes, count * sizeof(*nodes)},
    };
    int error = -fs_session_notify(pt->session, FS_FUSE_NOTIFY_PRUNE, body, G_N_ELEMENTS(body));
    bool unknown = error == EINVAL || error == ENOSYS;
    if (unknown && !atomic_exchange(&pt->reclaim.unsupported, true)) {
        g_message("the kernel cannot be asked to forget unused files (%s): at most %u files can be "
                  "known at a time (ulimit -n)",
                  g_strerror(error), pt->reclaim.limit);
    }
    return error == 0;
}

/* The next inode that only the kernel holds, from the clock's hand on; 0: none in a whole round. */
static uint64_t next_candidate(FsPassthrough *pt, uint32_t *left)
{
    FsSlotTable *slots = &pt->inodes.slots;
    uint32_t end = fs_slots_end(slots);
    while (*left > 0) {
        (*left)--;
        uint32_t index = atomic_fetch_add(&pt->reclaim.next, 1) % end;
        FsSlot *slot = fs_slots_at(slots, index);
        if (!slot) {
            continue;
        }
        uint64_t id = fs_inode_id((FsInode *)slot);
        bool unused = fs_slot_references(slot) == 2 && /* the kernel's and ours */
                      fs_inode_descriptor((FsInode *)slot) >= 0;
        fs_inode_put((FsInode *)slot);
        if (unused && id != FS_INODE_ROOT_ID) {
            return id;
        }
    }
    return 0;
}

/* Ask the kernel to forget up to @most inodes. */
static void ask_for(FsPassthrough *pt, uint32_t most)
{
    uint64_t nodes[BATCH];
    uint32_t left = fs_slots_end(&pt->inodes.slots);
    uint32_t count;
    do {
        count = 0;
        while (count < BATCH && count < most && (nodes[count] = next_candidate(pt, &left))) {
            count++;
        }
        most -= count;
        atomic_fetch_add(&pt->reclaim.asked, count);
    } while (count > 0 && ask_to_forget(pt, nodes, count));
}

static void reclaim_on_helper(AioPoolWork *work)
{
    FsPassthrough *pt = (FsPassthrough *)((char *)work - offsetof(FsPassthrough, reclaim_work));
    ask_for(pt, pt->reclaim.limit / 4);
    atomic_store(&pt->reclaim.running, false);
}

void fs_reclaim_check(FsPassthrough *pt)
{
    FsReclaim *reclaim = &pt->reclaim;
    if (fs_inode_descriptors(&pt->inodes) < reclaim->begin || !pt->session ||
        atomic_load_explicit(&reclaim->unsupported, memory_order_relaxed) ||
        atomic_exchange(&reclaim->running, true)) {
        return;
    }
    pt->reclaim_work = (AioPoolWork){.run = reclaim_on_helper};
    aio_pool_submit(fs_session_pool(pt->session), &pt->reclaim_work);
}

bool fs_reclaim_now(FsPassthrough *pt)
{
    if (!pt->session || atomic_load(&pt->reclaim.unsupported)) {
        return false;
    }
    uint32_t before = fs_inode_descriptors(&pt->inodes);
    ask_for(pt, pt->reclaim.limit / 4);
    for (unsigned i = 0; i < WAIT_STEPS_MOST; i++) {
        if (fs_inode_descriptors(&pt->inodes) + BATCH / 4 < before) {
            return true;
        }
        g_usleep(WAIT_STEP_US);
    }
    return !atomic_load(&pt->reclaim.unsupported);
}
