/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Marks: what tells a file from another one that has its number.
 *
 * The file handle, which holds the generation and needs no privilege to be read. Where a handle
 * cannot be had, or does not last, the time of birth. overlayfs without nfs_export has handles that
 * nobody can open but that last, also when a file is copied up; Linux gives them to those who say
 * that they only compare (AT_HANDLE_FID, 6.6). Elsewhere the handles that this flag
 * adds are made up from a generation which may be nothing, so there it is not used.
 *
 * A time of birth is a mark only if it is over: a file made in the same tick of the clock, in
 * place of the one that was closed, would have the same. Handles of FUSE mounts are none: they
 * end when the kernel forgets the file there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/file-handle.h"
#include "fs/passthrough/inode-path.h"

#define TICK_NS        INT64_C(20000000)   /* more than the kernel's coarse clock goes at a time */
#define COARSE_TICK_NS INT64_C(2100000000) /* of file systems that know seconds only, or two */
#define NS_PER_SECOND  INT64_C(1000000000)

uint64_t fs_inode_mark_by_handle(const FsHandleName *handle)
{
    uint64_t mark = handle->length + ((uint64_t)handle->type << 32);
    for (unsigned i = 0; i < handle->length; i += sizeof(uint64_t)) {
        uint64_t part = 0;
        memcpy(&part, handle->name + i, MIN(sizeof(part), handle->length - i));
        mark = (mark ^ part) * 0x9e3779b97f4a7c15u;
        mark ^= mark >> 29;
    }
    return mark == FS_NO_MARK ? 1 : mark;
}

static int64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static uint64_t mark_by_birth(FsBacking *backing, int fd, bool *young)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0) {
        return FS_NO_MARK;
    }
    if (!(stx.stx_mask & STATX_BTIME) || stx.stx_btime.tv_sec == 0) {
        atomic_store_explicit(&backing->no_marks, true, memory_order_relaxed);
        return FS_NO_MARK;
    }
    int64_t born = stx.stx_btime.tv_sec * NS_PER_SECOND + stx.stx_btime.tv_nsec;
    *young = wall_clock_ns() - born < (stx.stx_btime.tv_nsec == 0 ? COARSE_TICK_NS : TICK_NS);
    return (uint64_t)born;
}

uint64_t fs_inode_mark_of(FsBacking *backing, int fd, bool *young)
{
    FsHandleName handle;
    *young = false;
    if (!backing) {
        return FS_NO_MARK;
    }
    int error = -EOPNOTSUPP;
    if (backing->fid_marks) {
        error = fs_file_handle_read_to_compare(fd, &handle);
    } else if (!backing->fleeting_handles &&
               !atomic_load_explicit(&backing->no_handles, memory_order_relaxed)) {
        error = fs_file_handle_read(fd, &handle);
        if (error == -EOPNOTSUPP) {
            atomic_store_explicit(&backing->no_handles, true, memory_order_relaxed);
        }
    }
    if (error == -EOPNOTSUPP) {
        return mark_by_birth(backing, fd, young);
    }
    return error ? FS_NO_MARK : fs_inode_mark_by_handle(&handle);
}
