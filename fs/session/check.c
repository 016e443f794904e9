/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lengths inside a request.
 *
 * libfuse believes the sizes that a request states and looks for the end of
 * names without a limit. The kernel sends what is right; this makes sure that
 * nothing else can make us read past a request, whoever is behind the
 * descriptor. Structures are those of protocol 7.23 and later, the oldest that
 * fs_init_parse() accepts.
 */
#include "fs/session/check.h"

#include <stdint.h>
#include <string.h>

#include "fs/session/kernel-abi.h"

typedef struct Shape {
    uint8_t argument; /* bytes of the argument structure */
    uint8_t names;    /* NUL-terminated strings behind it */
} Shape;

static const Shape shapes[] = {
    [FUSE_LOOKUP] = {0, 1},
    [FUSE_FORGET] = {sizeof(struct fuse_forget_in), 0},
    [FUSE_GETATTR] = {sizeof(struct fuse_getattr_in), 0},
    [FUSE_SETATTR] = {sizeof(struct fuse_setattr_in), 0},
    [FUSE_SYMLINK] = {0, 2},
    [FUSE_MKNOD] = {sizeof(struct fuse_mknod_in), 1},
    [FUSE_MKDIR] = {sizeof(struct fuse_mkdir_in), 1},
    [FUSE_UNLINK] = {0, 1},
    [FUSE_RMDIR] = {0, 1},
    [FUSE_RENAME] = {sizeof(struct fuse_rename_in), 2},
    [FUSE_LINK] = {sizeof(struct fuse_link_in), 1},
    [FUSE_OPEN] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READ] = {sizeof(struct fuse_read_in), 0},
    [FUSE_WRITE] = {sizeof(struct fuse_write_in), 0},
    [FUSE_RELEASE] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNC] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_SETXATTR] = {FUSE_COMPAT_SETXATTR_IN_SIZE, 1}, /* fs_extra_shorten() has been there */
    [FUSE_GETXATTR] = {sizeof(struct fuse_getxattr_in), 1},
    [FUSE_LISTXATTR] = {sizeof(struct fuse_getxattr_in), 0},
    [FUSE_REMOVEXATTR] = {0, 1},
    [FUSE_FLUSH] = {sizeof(struct fuse_flush_in), 0},
    [FUSE_INIT] = {2 * sizeof(uint32_t), 0},
    [FUSE_OPENDIR] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READDIR] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RELEASEDIR] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNCDIR] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_GETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLKW] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_ACCESS] = {sizeof(struct fuse_access_in), 0},
    [FUSE_CREATE] = {sizeof(struct fuse_create_in), 1},
    [FUSE_INTERRUPT] = {sizeof(struct fuse_interrupt_in), 0},
    [FUSE_BMAP] = {sizeof(struct fuse_bmap_in), 0},
    [FUSE_IOCTL] = {sizeof(struct fuse_ioctl_in), 0},
    [FUSE_POLL] = {sizeof(struct fuse_poll_in), 0},
    [FUSE_NOTIFY_REPLY] = {sizeof(struct fuse_notify_retrieve_in), 0},
    [FUSE_BATCH_FORGET] = {sizeof(struct fuse_batch_forget_in), 0},
    [FUSE_FALLOCATE] = {sizeof(struct fuse_fallocate_in), 0},
    [FUSE_READDIRPLUS] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RENAME2] = {sizeof(struct fuse_rename2_in), 2},
    [FUSE_LSEEK] = {sizeof(struct fuse_lseek_in), 0},
    [FUSE_COPY_FILE_RANGE] = {sizeof(struct fuse_copy_file_range_in), 0},
    [FUSE_TMPFILE] = {sizeof(struct fuse_create_in), 1},
    [FS_FUSE_STATX] = {sizeof(struct fs_fuse_statx_in), 0},
};

/** Bytes that the argument structure says follow it and its names. */
static uint64_t data_length(uint32_t opcode, const void *argument)
{
    switch (opcode) {
    case FUSE_WRITE:
        return ((const struct fuse_write_in *)argument)->size;
    case FUSE_SETXATTR:
        return ((const struct fuse_setxattr_in *)argument)->size;
    case FUSE_IOCTL:
        return ((const struct fuse_ioctl_in *)argument)->in_size;
    case FUSE_NOTIFY_REPLY:
        return ((const struct fuse_notify_retrieve_in *)argument)->size;
    case FUSE_BATCH_FORGET:
        return (uint64_t)((const struct fuse_batch_forget_in *)argument)->count *
               sizeof(struct fuse_forget_one);
    default:
        return 0;
    }
}

bool fs_check_request(const struct fuse_in_header *in, size_t length)
{
    const char *argument = (const char *)(in + 1);
    const char *end = (const char *)in + length;

    if (in->opcode >= sizeof(shapes) / sizeof(shapes[0])) {
        return true;
    }
    const Shape *shape = &shapes[in->opcode];
    if ((size_t)(end - argument) < shape->argument) {
        return false;
    }
    const char *rest = argument + shape->argument;
    for (unsigned i = 0; i < shape->names; i++) {
        const char *terminator = memchr(rest, '\0', (size_t)(end - rest));
        if (terminator == NULL) {
            return false;
        }
        rest = terminator + 1;
    }
    return data_length(in->opcode, argument) + in->total_extlen * UINT64_C(8) <=
           (size_t)(end - rest);
}
