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
#define ENOUGH          64 /* inodes to ask for, and to wait for */
#define CLOSED_MOST     4096
#define WAIT_STEP_US    2000
#define WAIT_STEPS_MOST 100
#define TRIES           8 /* of an operation that has no descriptor: levels of directories */

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

/* What to name to the kernel. */
typedef struct Search {
    uint32_t most; /* to name */
    uint32_t left; /* slots to look at */
    bool closed;   /* those without a descriptor that keep one of a directory from going */
} Search;

/* Whether it takes a descriptor, or is in the way of one that could go. */
static bool is_wanted(FsInode *inode, const Search *search)
{
    return search->closed ? fs_inode_keeps_pinned(inode) : fs_inode_descriptor(inode) >= 0;
}

/* The next inode that only the kernel holds, from the clock's hand on; 0: none in a whole round. */
static uint64_t next_candidate(FsPassthrough *pt, Search *search)
{
    FsSlotTable *slots = &pt->inodes.slots;
    uint32_t end = fs_slots_end(slots);
    while (search->left > 0) {
        search->left--;
        uint32_t index = atomic_fetch_add(&pt->reclaim.next, 1) % end;
        FsSlot *slot = fs_slots_at(slots, index);
        if (!slot) {
            continue;
        }
        uint64_t id = fs_inode_id((FsInode *)slot);
        bool unused = fs_slot_references(slot) == 2 && /* the kernel's and ours */
                      is_wanted((FsInode *)slot, search);
        fs_inode_put((FsInode *)slot);
        if (unused && id != FS_INODE_ROOT_ID) {
            return id;
        }
    }
    return 0;
}

/* Ask the kernel to forget inodes. Returns how many it was told. */
static uint32_t ask_for(FsPassthrough *pt, Search search)
{
    uint64_t nodes[BATCH];
    uint32_t asked = 0, count;
    search.left = fs_slots_end(&pt->inodes.slots);
    do {
        count = 0;
        while (count < MIN(BATCH, search.most - asked) &&
               (nodes[count] = next_candidate(pt, &search))) {
            count++;
        }
        if (count == 0 || !ask_to_forget(pt, nodes, count)) {
            break;
        }
        asked += count;
        atomic_fetch_add(&pt->reclaim.asked, count);
    } while (asked < search.most);
    return asked;
}

static void reclaim_on_helper(AioPoolWork *work)
{
    FsPassthrough *pt = (FsPassthrough *)((char *)work - offsetof(FsPassthrough, reclaim_work));
    ask_for(pt, (Search){.most = pt->reclaim.limit / 4});
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

/*
 * Reclaim and wait a little for the kernel to forget. False: there was nothing to forget. If few
 * inodes with a descriptor can go, closed ones are named, so that in one of the next rounds the
 * directories can that they are in.
 */
static bool reclaim_now(FsPassthrough *pt)
{
    if (!pt->session || atomic_load(&pt->reclaim.unsupported)) {
        return false;
    }
    const uint32_t inodes = fs_slots_live(&pt->inodes.slots);
    const uint32_t descriptors = fs_inode_descriptors(&pt->inodes);
    const uint32_t most = MAX(pt->reclaim.limit / 4, 1);
    uint32_t asked = ask_for(pt, (Search){.most = most});
    if (asked < MIN(most, ENOUGH) && !atomic_load(&pt->reclaim.unsupported)) {
        asked += ask_for(pt, (Search){.most = CLOSED_MOST, .closed = true});
    }
    const uint32_t enough = MIN(asked, ENOUGH);
    for (unsigned i = 0; asked > 0 && i < WAIT_STEPS_MOST; i++) {
        if (fs_slots_live(&pt->inodes.slots) + enough <= inodes ||
            fs_inode_descriptors(&pt->inodes) + enough <= descriptors) {
            break;
        }
        g_usleep(WAIT_STEP_US);
    }
    return asked > 0;
}

bool fs_reclaim_made_room(FsPassthrough *pt, int result, unsigned *tries)
{
    if (result != -ENFILE || *tries >= TRIES) {
        return false;
    }
    /* once in any case: it is some time since the worker tried */
    bool again = reclaim_now(pt) || *tries == 0;
    (*tries)++;
    return again;
}
