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
 * waits, if the last answer is some milliseconds old. Writes that wait already do not hear of
 * it: if they are as many as the new limit or more, they and the READ may wait for each other until
 * it is raised again, or the connection is aborted.
 */
#include <assert.h>

#include "fs/passthrough/operations.h"
#include "fs/session/mount.h"

#define WAITING_UNTOLD 12u /* the kernel's own max_background */
#define WAITING_MOST   64u /* whatever was agreed on: the kernel limits who is not root */
#define ASK_AGAIN_US   5000

/* What a request remembers while its pages go. */
typedef struct DropState {
    FsHandle *handle; /* referenced */
    off_t offset;     /* negative: unknown */
    size_t written;
} DropState;

static_assert(sizeof(DropState) <= FS_REQUEST_SCRATCH, "fits into a request's scratch room");

void fs_stale_pages_settle(FsStalePages *stale, unsigned max_background)
{
    stale->most = max_background ? MIN(max_background, WAITING_MOST) : WAITING_UNTOLD;
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

static void drop_and_reply(FsRequest *request, void *opaque)
{
    FsStalePages *stale = opaque;
    DropState state = *(DropState *)fs_request_scratch(request);
    off_t length = state.offset < 0 ? 0 : (off_t)state.written;

    drop_pages(fs_request_session(request), state.handle->inode, MAX(state.offset, 0), length);
    atomic_fetch_sub(&stale->waiting, 1);
    fs_request_reply_write(request, state.written);
    fs_handle_put(state.handle);
}

typedef struct LateDrop {
    AioPoolWork work;
    FsSession *session;
    FsHandle *handle; /* referenced */
} LateDrop;

static void drop_late(AioPoolWork *work)
{
    LateDrop *late = aio_container_of(work, LateDrop, work);
    FsInode *inode = late->handle->inode;

    atomic_store(&inode->late_drop, false); /* who writes from now on asks again */
    drop_pages(late->session, inode, 0, 0);
    fs_handle_put(late->handle);
    g_free(late);
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

void fs_stale_pages_drop(FsStalePages *stale, FsRequest *request, FsHandle *handle, off_t offset,
                         size_t written)
{
    FsSession *session = fs_request_session(request);

    if (may_wait(stale, session, atomic_fetch_add(&stale->waiting, 1))) {
        *(DropState *)fs_request_scratch(request) =
            (DropState){.handle = handle, .offset = offset, .written = written};
        fs_request_offload(request, fs_session_notify_pool(session), drop_and_reply, stale);
        return;
    }
    atomic_fetch_sub(&stale->waiting, 1);
    fs_request_reply_write(request, written);
    if (atomic_exchange(&handle->inode->late_drop, true)) {
        fs_handle_put(handle);
        return;
    }
    LateDrop *late = g_new(LateDrop, 1);
    *late = (LateDrop){.work = {.run = drop_late}, .session = session, .handle = handle};
    aio_pool_submit(fs_session_notify_pool(session), &late->work);
}
