/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INIT negotiation beyond libfuse 3.14.
 *
 * How it works: libfuse decodes INIT, calls the file system's init operation
 * and builds a fuse_init_out of protocol 7.31 to 7.38. Before that goes to
 * the kernel, this file raises the minor number to the newest one both sides
 * know and adds the flags that libfuse has no names for:
 *
 *     (libfuse's | ours | the file system's) & offered & ~refused & ~undecodable
 *
 * Kernel passthrough goes out with the depth of file systems on each other that it
 * allows: one, so the source is not itself stacked (overlayfs, another such mount).
 * The kernel refuses it together with the writeback cache.
 *
 * max_background, max_write and max_pages pass through libfuse (ops.c sets
 * them in fuse_conn_info).
 */
#include "fs/session/init.h"

#include <stddef.h>
#include <string.h>

#include <glib.h>

#include "fs/session/kernel-abi.h"

/**
 * Asked for by every session.
 *
 * ABORT_ERROR tells an abort from an unmount. HANDLE_KILLPRIV_V2 spares a
 * GETXATTR(security.capability) before every write; the file system drops
 * set-id bits in exchange (fs_request_kills_suidgid()). DIRECT_IO_ALLOW_MMAP
 * keeps shared mappings possible where an open answered FOPEN_DIRECT_IO.
 */
static const uint64_t wanted_flags =
    FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_DIO | FUSE_MAX_PAGES |
    FUSE_ABORT_ERROR | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT | FS_FUSE_DIRECT_IO_ALLOW_MMAP;

/** Change requests or answers in ways that libfuse 3.14 or this session cannot follow. */
static const uint64_t undecodable_flags = FUSE_MAP_ALIGNMENT | FUSE_SECURITY_CTX |
                                          FUSE_HAS_INODE_DAX | FS_FUSE_HAS_RESEND |
                                          FS_FUSE_REQUEST_TIMEOUT;

/** Of no use to a file system: only who registers rings may answer with these. */
static const uint64_t transport_flags = FS_FUSE_OVER_IO_URING;

bool fs_init_parse(const void *request, size_t length, FsInitResult *result)
{
    /* 7.6 to 7.35 sent four numbers; flags2 came with 7.36 */
    const size_t base = sizeof(struct fuse_in_header);
    const size_t least = offsetof(struct fuse_init_in, flags2);
    struct fuse_init_in in = {0};

    memcpy(&in, (const char *)request + base, length > base ? MIN(length - base, sizeof(in)) : 0);
    if (in.major < 7 ||
        (in.major == 7 && (in.minor < FS_INIT_OLDEST_MINOR || length < base + least))) {
        g_warning("the kernel speaks FUSE %u.%u; 7.%u (Linux 3.15) is the oldest served", in.major,
                  in.minor, FS_INIT_OLDEST_MINOR);
        return false;
    }
    result->kernel_minor = in.minor;
    result->kernel_flags = in.flags;
    if (in.flags & FUSE_INIT_EXT) {
        result->kernel_flags |= (uint64_t)in.flags2 << 32;
    }
    return true;
}

void fs_init_patch(const FsFilesystem *filesystem, uint64_t want_flags, void *body, size_t length,
                   FsInitResult *result)
{
    struct fuse_init_out *out = body;

    /* all zero but the version: not agreed on yet */
    if (length < sizeof(*out) || out->max_write == 0) {
        return;
    }

    uint64_t flags = out->flags | (uint64_t)out->flags2 << 32;
    flags |= wanted_flags | filesystem->want_flags;
    flags = (flags & ~transport_flags) | want_flags;
    flags &= result->kernel_flags & ~filesystem->refuse_flags & ~undecodable_flags;
    if (flags & FUSE_WRITEBACK_CACHE) {
        flags &= ~FS_FUSE_PASSTHROUGH;
    }

    if (flags & FUSE_EXPORT_SUPPORT) {
        flags &= ~FS_FUSE_NO_EXPORT_SUPPORT;
    }

    out->minor = MIN(result->kernel_minor, FS_FUSE_MINOR);
    out->flags = (uint32_t)flags;
    out->flags2 = flags & FUSE_INIT_EXT ? (uint32_t)(flags >> 32) : 0;
    if (flags & FS_FUSE_PASSTHROUGH) {
        fs_fuse_set_max_stack_depth(out, 1);
    }

    result->minor = out->minor;
    result->flags = flags;
    result->max_write = out->max_write;
    result->max_readahead = out->max_readahead;
    result->max_background = out->max_background;
    result->max_pages = flags & FUSE_MAX_PAGES ? out->max_pages : 32;
}
