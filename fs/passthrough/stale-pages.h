/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Pages of the client's kernel that a direct write has made old.
 */
#ifndef SLUICE_FS_PASSTHROUGH_STALE_PAGES_H
#define SLUICE_FS_PASSTHROUGH_STALE_PAGES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/passthrough/handle.h"
#include "fs/session/request.h"

typedef struct FsStalePages {
    unsigned most; /**< fewer direct writes than this may wait; constant after INIT */
    FsSession *session;
    AioPool *guard_pool;      /**< of one thread; NULL: before INIT, and at the end */
    _Atomic unsigned waiting; /**< direct writes whose pages are going */
    _Atomic int64_t asked_us; /**< when limit was asked for, monotonic; 0: never */
    _Atomic unsigned limit;   /**< max_background at that time; 0: not known */
    GMutex lock;
    GQueue waiting_drops; /**< locked */
    bool guarded;         /**< locked: the guard runs, or is about to */
    GThread *begun_by;    /**< locked: the worker that had the guard started */
    AioPoolWork guard;
} FsStalePages;

/** INIT has agreed on @max_background; 0: the kernel's default. */
void fs_stale_pages_settle(FsStalePages *stale, FsSession *session, unsigned max_background);

/** No request is left, and none will come. */
void fs_stale_pages_end(FsStalePages *stale);

/**
 * Have the kernel drop the pages of @written bytes at @offset (negative: of all) that it may have
 * of the file, and answer the WRITE. Takes over the reference on @handle. Home thread.
 */
void fs_stale_pages_drop(FsStalePages *stale, FsRequest *request, FsHandle *handle, off_t offset,
                         size_t written);

#endif /* SLUICE_FS_PASSTHROUGH_STALE_PAGES_H */
