/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Pages of the client's kernel that a direct write has made old.
 *
 * How it works: the kernel drops the pages of a range before it sends a direct write; others
 * may read the old data in again meanwhile, and those pages have to go before the writer hears of
 * its success. Dropping may wait for pages that a READ is filling, and for dirty ones that a
 * WRITE takes away, which the kernel holds back while a truncation (SETATTR) is with us. So it is
 * done neither on a worker nor where a SETATTR may queue behind it (fs_session_notify_pool()).
 *
 * The READ that fills a page is a background request, as is an asynchronous direct write, and of
 * those the kernel has only max_background under way. If writes that wait for pages took all of
 * them, the READ would never be sent. So the write that would take the last one is answered at
 * once, and all pages of its file go a little later, once for any number of such writes.
 * An administrator may lower max_background (fusectl), so it is asked for again before a write
 * waits, if the last answer is some milliseconds old, and by a guard as long as writes wait: those
 * that are too many then are answered, and their pages go when they can.
 *
 * A Drop is on the list as long as its write waits. Who takes it off, under the lock, answers.
 */
#include <assert.h>

#include "fs/passthrough/operations.h"
#include "fs/session/mount.h"

#define WAITING_UNTOLD 12u /* the kernel's own max_background */
#define WAITING_MOST   64u /* whatever was agreed on: the kernel limits who is not root */
#define ASK_AGAIN_US   5000
#define GUARD_STEP_US  20000

typedef struct Drop {
    AioPoolWork work;
    FsStalePages *stale;
    FsSession *session;
    FsHandle *handle;   /* referenced */
    FsRequest *request; /* that waits, while on the list; NULL from the start: of the whole file */
    off_t offset;       /* negative: unknown */
    size_t written;
    GList link;
} Drop;

void fs_stale_pages_settle(FsStalePages *stale, FsSession *session, unsigned max_background)
{
    stale->most = max_background ? MIN(max_background, WAITING_MOST) : WAITING_UNTOLD;
    stale->session = session;
    stale->guard_pool = aio_pool_new("stale-pages", 1);
}

void fs_stale_pages_end(FsStalePages *stale)
{
    g_clear_pointer(&stale->guard_pool, aio_pool_free);
}

/*
 * Without users of the page cache all pages go, and direct writes come without
 * this again. The flag is cleared before the users are counted; one who opens raises
 * it after being counted: it cannot get lost.
 */
static void drop_pages(FsSession *session, FsInode *inode, off_t offset, off_t length)
{
    if (!fs_session_begin_notification(session)) {
        return; /* nobody will read them any more */
    }
    atomic_store(&inode->may_have_pages, false);
    if (atomic_load(&inode->cached_handles) > 0) {
        atomic_store(&inode->may_have_pages, true);
    } else {
        offset = length = 0;
    }
    fuse_lowlevel_notify_inval_inode(fs_session_fuse(session), fs_inode_id(inode), offset, length);
    fs_session_end_notification(session);
}

/* The write of @drop, for the caller to answer; NULL: another has, or will. */
static FsRequest *take_request(Drop *drop)
{
    FsStalePages *stale = drop->stale;

    g_mutex_lock(&stale->lock);
    FsRequest *request = g_steal_pointer(&drop->request);
    if (request) {
        g_queue_unlink(&stale->waiting_drops, &drop->link);
        atomic_fetch_sub(&stale->waiting, 1);
    }
    g_mutex_unlock(&stale->lock);
    return request;
}

static void drop_and_reply(AioPoolWork *work)
{
    Drop *drop = aio_container_of(work, Drop, work);

    drop_pages(drop->session, drop->handle->inode, MAX(drop->offset, 0),
               drop->offset < 0 ? 0 : (off_t)drop->written);
    FsRequest *request = take_request(drop);
    if (request) {
        fs_request_reply_write(request, drop->written);
    }
    fs_handle_put(drop->handle);
    g_free(drop);
}

static void drop_late(AioPoolWork *work)
{
    Drop *drop = aio_container_of(work, Drop, work);
    FsInode *inode = drop->handle->inode;

    atomic_store(&inode->late_drop, false); /* who writes from now on asks again */
    drop_pages(drop->session, inode, 0, 0);
    fs_handle_put(drop->handle);
    g_free(drop);
}

/* What max_background has been lately; 0: not known. */
static unsigned current_limit(FsStalePages *stale, FsSession *session)
{
    int64_t now = g_get_monotonic_time();
    int64_t asked = atomic_load_explicit(&stale->asked_us, memory_order_acquire);

    if (asked == 0 || now - asked >= ASK_AGAIN_US) {
        atomic_store_explicit(&stale->limit, fs_mount_max_background(fs_session_device(session)),
                              memory_order_relaxed);
        atomic_store_explicit(&stale->asked_us, now, memory_order_release);
    }
    return atomic_load_explicit(&stale->limit, memory_order_relaxed);
}

/* Whether one more may wait beside @waiting others. */
static bool may_wait(FsStalePages *stale, FsSession *session, unsigned waiting)
{
    unsigned now = current_limit(stale, session);

    return waiting + 1 < (now ? MIN(now, stale->most) : stale->most);
}

/* Answer one write if more wait than max_background allows by now. */
static bool answer_excess(FsStalePages *stale)
{
    unsigned limit = current_limit(stale, stale->session);
    FsRequest *request = NULL;
    size_t written = 0;

    g_mutex_lock(&stale->lock);
    if (limit != 0 && stale->waiting_drops.length >= limit) {
        Drop *drop = g_queue_pop_head_link(&stale->waiting_drops)->data;
        request = g_steal_pointer(&drop->request);
        written = drop->written;
        atomic_fetch_sub(&stale->waiting, 1);
    }
    g_mutex_unlock(&stale->lock);
    if (request) {
        fs_request_reply_write(request, written);
    }
    return request != NULL;
}

/* There was no thread, this is the worker: it goes on unguarded, the next write tries again. */
static bool has_no_thread(FsStalePages *stale)
{
    g_mutex_lock(&stale->lock);
    const bool none = stale->begun_by == g_thread_self();
    stale->guarded &= !none;
    g_mutex_unlock(&stale->lock);
    return none;
}

static void guard_run(AioPoolWork *work)
{
    FsStalePages *stale = aio_container_of(work, FsStalePages, guard);

    if (has_no_thread(stale)) {
        return;
    }
    for (;;) {
        g_usleep(GUARD_STEP_US);
        while (answer_excess(stale)) {
        }
        g_mutex_lock(&stale->lock);
        stale->guarded = stale->waiting_drops.length > 0;
        const bool over = !stale->guarded;
        g_mutex_unlock(&stale->lock);
        if (over) {
            return; /* the next that waits begins another */
        }
    }
}

/* The write waits; whoever takes it off the list answers it. */
static void begin_waiting(FsStalePages *stale, Drop *drop)
{
    g_mutex_lock(&stale->lock);
    drop->link.data = drop;
    g_queue_push_tail_link(&stale->waiting_drops, &drop->link);
    const bool begin = !stale->guarded && stale->guard_pool;
    stale->guarded |= begin;
    if (begin) {
        stale->begun_by = g_thread_self();
    }
    g_mutex_unlock(&stale->lock);
    if (begin) {
        stale->guard = (AioPoolWork){.run = guard_run};
        aio_pool_submit(stale->guard_pool, &stale->guard);
    }
}

void fs_stale_pages_drop(FsStalePages *stale, FsRequest *request, FsHandle *handle, off_t offset,
                         size_t written)
{
    FsSession *session = fs_request_session(request);
    const bool waits = may_wait(stale, session, atomic_fetch_add(&stale->waiting, 1));

    if (!waits) {
        atomic_fetch_sub(&stale->waiting, 1);
        fs_request_reply_write(request, written);
        if (atomic_exchange(&handle->inode->late_drop, true)) {
            fs_handle_put(handle);
            return;
        }
    }
    Drop *drop = g_new(Drop, 1);
    *drop = (Drop){
        .work = {.run = waits ? drop_and_reply : drop_late},
        .stale = stale,
        .session = session,
        .handle = handle,
        .request = waits ? request : NULL,
        .offset = offset,
        .written = written,
    };
    if (waits) {
        fs_request_park(request);
        begin_waiting(stale, drop);
    }
    aio_pool_submit(fs_session_notify_pool(session), &drop->work);
}
