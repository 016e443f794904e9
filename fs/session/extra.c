/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that libfuse does not know, or not whole.
 *
 * How it works: a file system must be given a fuse_req_t, and only libfuse's
 * decoder makes one. So these requests are rewritten in place into older ones
 * of the same layout, and the operation that libfuse calls (ops.c) looks at
 * the opcode kept in FsRequest to find out what it really is:
 *
 *   STATX    fuse_statx_in begins like fuse_getattr_in: becomes GETATTR; its
 *            two extra fields are kept in the request.
 *   TMPFILE  has the layout of CREATE, with a name that means nothing:
 *            becomes CREATE.
 *
 * The answers are the file system's: fs_reply_statx(), fuse_reply_create().
 * Without the operation the request is left alone and libfuse answers ENOSYS,
 * after which the kernel does not ask again.
 *
 * A SETXATTR of the longer form (FUSE_SETXATTR_EXT) loses its last eight bytes
 * of arguments; the flag in them is kept. Extensions lie behind the arguments,
 * where libfuse does not look: a sequence of fuse_ext_header with data, each
 * padded to eight bytes, header.total_extlen times eight bytes in all.
 */
#include "fs/session/extra.h"

#include <errno.h>
#include <string.h>

#include <sys/stat.h>

#include "fs/session/kernel-abi.h"
#include "fs/session/session-internal.h"

bool fs_extra_shorten(FsRequest *request, struct fuse_in_header *in)
{
    request->acl_kills_sgid = false;
    if (request->opcode != FUSE_SETXATTR ||
        !(fs_request_session(request)->init.flags & FUSE_SETXATTR_EXT)) {
        return true;
    }
    struct fuse_setxattr_in *setxattr_in = (void *)(in + 1);
    const size_t begin = sizeof(*in) + sizeof(*setxattr_in);
    const size_t surplus = sizeof(*setxattr_in) - FUSE_COMPAT_SETXATTR_IN_SIZE;
    if (request->length < begin) {
        return false;
    }
    request->acl_kills_sgid = setxattr_in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
    memmove((char *)in + begin - surplus, (char *)in + begin, request->length - begin);
    request->length -= surplus;
    in->len -= (uint32_t)surplus;
    return true;
}

void fs_extra_read(FsRequest *request, const struct fuse_in_header *in)
{
    const size_t length = in->total_extlen * (size_t)8;
    const char *end = (const char *)in + request->length;
    const char *at = end - MIN(length, request->length - sizeof(*in));
    struct fuse_ext_header header;

    request->has_group = false;
    while ((size_t)(end - at) >= sizeof(header)) {
        memcpy(&header, at, sizeof(header));
        if (header.size < sizeof(header) || header.size > (size_t)(end - at)) {
            return;
        }
        struct fs_fuse_supp_groups groups;
        uint32_t group;
        if (header.type == FS_FUSE_EXT_GROUPS &&
            header.size >= sizeof(header) + sizeof(groups) + sizeof(group)) {
            memcpy(&groups, at + sizeof(header), sizeof(groups));
            memcpy(&group, at + sizeof(header) + sizeof(groups), sizeof(group));
            request->has_group = groups.count > 0; /* the kernel sends one at most */
            request->supplementary_group = group;
        }
        size_t step = (header.size + (size_t)7) & ~(size_t)7;
        if (step > (size_t)(end - at)) {
            return;
        }
        at += step;
    }
}

void fs_extra_rewrite(FsRequest *request, struct fuse_in_header *in)
{
    const FsExtraOps *extra = &fs_request_session(request)->filesystem->extra;

    if (request->opcode == FS_FUSE_STATX && extra->statx != NULL) {
        const struct fs_fuse_statx_in *statx_in = (const void *)(in + 1);
        request->statx_flags = statx_in->sx_flags;
        request->statx_mask = statx_in->sx_mask;
        in->opcode = FUSE_GETATTR;
    } else if (request->opcode == FUSE_TMPFILE && extra->tmpfile != NULL) {
        in->opcode = FUSE_CREATE;
    }
}

static struct fs_fuse_sx_time sx_time(struct statx_timestamp time)
{
    return (struct fs_fuse_sx_time){.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec};
}

int fs_reply_statx(fuse_req_t req, const struct statx *stx, double attr_timeout)
{
    double limit = attr_timeout < 1e15 ? attr_timeout : 1e15;
    uint64_t seconds = limit > 0 ? (uint64_t)limit : 0;
    double rest = limit > 0 ? limit - (double)seconds : 0;
    const struct fs_fuse_statx_out out = {
        .attr_valid = seconds,
        .attr_valid_nsec = (uint32_t)(MIN(rest, 0.999999999) * 1e9),
        .stat =
            {
                .mask = stx->stx_mask,
                .blksize = stx->stx_blksize,
                .attributes = stx->stx_attributes,
                .nlink = stx->stx_nlink,
                .uid = stx->stx_uid,
                .gid = stx->stx_gid,
                .mode = stx->stx_mode,
                .ino = stx->stx_ino,
                .size = stx->stx_size,
                .blocks = stx->stx_blocks,
                .attributes_mask = stx->stx_attributes_mask,
                .atime = sx_time(stx->stx_atime),
                .btime = sx_time(stx->stx_btime),
                .ctime = sx_time(stx->stx_ctime),
                .mtime = sx_time(stx->stx_mtime),
                .rdev_major = stx->stx_rdev_major,
                .rdev_minor = stx->stx_rdev_minor,
                .dev_major = stx->stx_dev_major,
                .dev_minor = stx->stx_dev_minor,
            },
    };
    return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}
