/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pages of the entries of FUSE over io_uring: counted, and given back.
 *
 * How it works
 *
 * An entry that goes to the kernel with an answer is "lent": it stands at the
 * head of its worker's list until a request comes. The kernel fills that one
 * first that it got last, so those at the end are the ones not needed.
 *
 * Pages may be dropped only when nothing can be copied into them between
 * looking and giving back. The kernel copies a request into an entry inside of
 * the commit that freed it, or by task work of the worker's thread, which with
 * DEFER_TASKRUN runs inside io_uring_enter only; and it copies an answer out
 * inside of the commit. So with everything submitted, every completion taken
 * and no task work waiting, an entry that is lent and has no completion is empty,
 * until the next system call.
 *
 * The lock guards the list of workers, so that one of them can be asked while
 * it lives. The counters may be a moment late: what they decide is when to
 * give back, never what.
 */
#include "fs/transport/uring-memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include "aio/batch.h"
#include "aio/buffer.h"
#include "fs/transport/uring-internal.h"

/** Entries of an idle worker that keep AIO_BUFFER_RESIDENT; the others keep nothing. */
#define KEPT_ENTRIES 8

struct FsUringMemory {
    size_t most;
    _Atomic(size_t) held; /* by large payloads */
    _Atomic(size_t) lent; /* of that, by those that no request uses */
    pthread_mutex_t lock;
    FsUring *users;
};

FsUringMemory *fs_uring_memory_new(size_t most)
{
    FsUringMemory *memory = g_new0(FsUringMemory, 1);

    memory->most = most;
    pthread_mutex_init(&memory->lock, NULL);
    return memory;
}

void fs_uring_memory_free(FsUringMemory *memory)
{
    if (memory != NULL) {
        pthread_mutex_destroy(&memory->lock);
        g_free(memory);
    }
}

size_t fs_uring_memory_held(const FsUringMemory *memory)
{
    return atomic_load_explicit(&memory->held, memory_order_relaxed);
}

bool fs_uring_memory_is_short(const FsUring *uring)
{
    const FsUringMemory *memory = uring->params.memory;

    const size_t lent = atomic_load_explicit(&memory->lent, memory_order_relaxed);
    const size_t held = fs_uring_memory_held(memory);
    return held > lent && held - lent >= memory->most;
}

/** Bytes that count. */
static size_t large_bytes(const FsUringEntry *entry)
{
    return entry->touched > AIO_BUFFER_RESIDENT ? entry->touched : 0;
}

static void set_touched(FsUringEntry *entry, size_t touched)
{
    const size_t before = large_bytes(entry);

    entry->touched = touched;
    if (large_bytes(entry) != before) { /* unsigned: less is more that wraps */
        atomic_fetch_add_explicit(&entry->uring->params.memory->held, large_bytes(entry) - before,
                                  memory_order_relaxed);
    }
}

void fs_uring_touch(FsUringEntry *entry, size_t bytes)
{
    if (bytes > entry->touched) {
        set_touched(entry, bytes);
    }
}

/* --- what is lent ------------------------------------------------------------------ */

static size_t own_lent(const FsUring *uring)
{
    return atomic_load_explicit(&uring->lent_bytes, memory_order_relaxed);
}

static void count_lent(FsUring *uring, size_t bytes)
{
    if (bytes != 0) { /* unsigned: less is more that wraps */
        atomic_store_explicit(&uring->lent_bytes, own_lent(uring) + bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&uring->params.memory->lent, bytes, memory_order_relaxed);
    }
}

void fs_uring_lend(FsUringEntry *entry)
{
    FsUring *uring = entry->uring;

    g_queue_push_head_link(&uring->lent, &entry->lent);
    entry->is_lent = true;
    count_lent(uring, large_bytes(entry));
    if (fs_uring_memory_held(uring->params.memory) > uring->params.memory->most) {
        aio_batch_defer(uring->ctx, fs_uring_give_back, uring);
    }
}

void fs_uring_take_back(FsUringEntry *entry)
{
    if (entry->is_lent) {
        g_queue_unlink(&entry->uring->lent, &entry->lent);
        entry->is_lent = false;
        count_lent(entry->uring, -large_bytes(entry));
    }
}

/* --- giving back -------------------------------------------------------------------- */

/** Have the kernel tell of every entry that it has filled. False: it goes on filling them. */
static bool settle(FsUring *uring)
{
    /* answers first: they lie in entries that count as lent */
    (void)aio_ring_submit(uring->ring);
    (void)aio_ring_reap(uring->ring, 0);
    return aio_ring_queued(uring->ring) == 0 && !aio_ring_has_completions(uring->ring);
}

/** Whether a lent entry is not among those that wait to be told of. After settle(). */
static bool is_empty(const FsUringEntry *entry)
{
    return entry->fetch.res == FS_URING_NOT_BACK;
}

/** Let a lent entry keep only @keep bytes, whole pages. */
static void drop_pages(FsUringEntry *entry, size_t keep)
{
    const size_t before = large_bytes(entry);

    if (entry->touched > keep && is_empty(entry)) {
        madvise(entry->payload + keep, entry->touched - keep, MADV_DONTNEED);
        set_touched(entry, keep);
        count_lent(entry->uring, large_bytes(entry) - before);
    }
}

/** Ask the other workers that have something. */
static void ask_others(FsUring *uring)
{
    FsUringMemory *memory = uring->params.memory;

    pthread_mutex_lock(&memory->lock);
    for (FsUring *other = memory->users; other != NULL; other = other->next_user) {
        if (other != uring && own_lent(other) > 0) {
            aio_bh_schedule(other->give_back_bh);
        }
    }
    pthread_mutex_unlock(&memory->lock);
}

void fs_uring_give_back(void *opaque)
{
    FsUring *uring = opaque;
    const FsUringMemory *memory = uring->params.memory;

    if (!uring->can_trim || fs_uring_is_stopped(uring) ||
        fs_uring_memory_held(memory) <= memory->most) {
        return;
    }
    if (own_lent(uring) > 0) {
        if (!settle(uring)) {
            return; /* the next commit tries again */
        }
        for (GList *link = uring->lent.tail;
             link != NULL && own_lent(uring) > 0 && fs_uring_memory_held(memory) > memory->most;
             link = link->prev) {
            if (large_bytes(link->data) > 0) {
                drop_pages(link->data, 0);
            }
        }
    }
    if (fs_uring_memory_held(memory) > memory->most) {
        ask_others(uring);
    }
}

/** Another worker asks. */
static void give_back_bh(void *opaque)
{
    fs_uring_give_back(opaque);
}

bool fs_uring_trim(FsUring *uring)
{
    unsigned kept = 0;

    if (!uring->can_trim) {
        return true;
    }
    if (!settle(uring)) {
        return false;
    }
    for (GList *link = uring->lent.head; link != NULL; link = link->next) {
        drop_pages(link->data, kept++ < KEPT_ENTRIES ? AIO_BUFFER_RESIDENT : 0);
    }
    return true;
}

/* --- life ------------------------------------------------------------------------------ */

void fs_uring_memory_join(FsUring *uring)
{
    FsUringMemory *memory = uring->params.memory;

    uring->can_trim = aio_ring_setup_flags(uring->ring) & IORING_SETUP_DEFER_TASKRUN;
    uring->give_back_bh = aio_bh_new(uring->ctx, give_back_bh, uring);
    pthread_mutex_lock(&memory->lock);
    uring->next_user = memory->users;
    memory->users = uring;
    pthread_mutex_unlock(&memory->lock);
}

void fs_uring_memory_leave(FsUring *uring)
{
    FsUringMemory *memory = uring->params.memory;

    pthread_mutex_lock(&memory->lock);
    FsUring **link = &memory->users;
    while (*link != uring) {
        link = &(*link)->next_user;
    }
    *link = uring->next_user;
    pthread_mutex_unlock(&memory->lock);
    aio_bh_delete(uring->give_back_bh);
    uring->give_back_bh = NULL;
}
