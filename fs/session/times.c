/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Histograms of request times: see times.h. */
#include "fs/session/times.h"

#include <stdlib.h>

#include <glib.h>

#include "fs/session/kernel-abi.h"

static const char *const opcode_names[FS_TIMES_OPCODES] = {
    [FUSE_LOOKUP] = "lookup",
    [FUSE_FORGET] = "forget",
    [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr",
    [FUSE_READLINK] = "readlink",
    [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod",
    [FUSE_MKDIR] = "mkdir",
    [FUSE_UNLINK] = "unlink",
    [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename",
    [FUSE_LINK] = "link",
    [FUSE_OPEN] = "open",
    [FUSE_READ] = "read",
    [FUSE_WRITE] = "write",
    [FUSE_STATFS] = "statfs",
    [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync",
    [FUSE_SETXATTR] = "setxattr",
    [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr",
    [FUSE_REMOVEXATTR] = "removexattr",
    [FUSE_FLUSH] = "flush",
    [FUSE_INIT] = "init",
    [FUSE_OPENDIR] = "opendir",
    [FUSE_READDIR] = "readdir",
    [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_FSYNCDIR] = "fsyncdir",
    [FUSE_GETLK] = "getlk",
    [FUSE_SETLK] = "setlk",
    [FUSE_SETLKW] = "setlkw",
    [FUSE_ACCESS] = "access",
    [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt",
    [FUSE_BMAP] = "bmap",
    [FUSE_DESTROY] = "destroy",
    [FUSE_IOCTL] = "ioctl",
    [FUSE_POLL] = "poll",
    [FUSE_NOTIFY_REPLY] = "notify-reply",
    [FUSE_BATCH_FORGET] = "batch-forget",
    [FUSE_FALLOCATE] = "fallocate",
    [FUSE_READDIRPLUS] = "readdirplus",
    [FUSE_RENAME2] = "rename2",
    [FUSE_LSEEK] = "lseek",
    [FUSE_COPY_FILE_RANGE] = "copy-file-range",
    [FUSE_SYNCFS] = "syncfs",
    [FUSE_TMPFILE] = "tmpfile",
    [FS_FUSE_STATX] = "statx",
};

FsTimes *fs_times_new(void)
{
    FsTimes *times = calloc(1, sizeof(*times));

    if (times == NULL) {
        g_error("out of memory for %zu bytes", sizeof(*times));
    }
    return times;
}

void fs_times_free(FsTimes *times)
{
    free(times);
}

static void merge_histogram(AioHistogram *into, const AioHistogram *from)
{
    /* An empty histogram's pages need not be there, in neither of the two. */
    if (atomic_load_explicit(&from->count, memory_order_relaxed) > 0) {
        aio_histogram_merge(into, from);
    }
}

void fs_times_merge(FsTimes *into, const FsTimes *from)
{
    for (unsigned i = 0; i < FS_TIMES_OPCODES; i++) {
        merge_histogram(&into->service[i], &from->service[i]);
        aio_counter_add(&into->errors[i],
                        atomic_load_explicit(&from->errors[i], memory_order_relaxed));
    }
    merge_histogram(&into->queue, &from->queue);
    merge_histogram(&into->backing, &from->backing);
    merge_histogram(&into->reply, &from->reply);
}

static unsigned known_opcode(uint32_t opcode)
{
    return opcode < FS_TIMES_OPCODES && opcode_names[opcode] != NULL ? opcode : 0;
}

void fs_times_record(FsTimes *times, uint32_t opcode, int error, uint64_t service_ns)
{
    const unsigned index = known_opcode(opcode);

    aio_histogram_record(&times->service[index], service_ns);
    if (error != 0) {
        aio_counter_add(&times->errors[index], 1);
    }
}

const char *fs_times_opcode_name(uint32_t opcode)
{
    const unsigned index = known_opcode(opcode);

    return index == 0 ? "other" : opcode_names[index];
}
