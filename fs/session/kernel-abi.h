/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FUSE kernel interface newer than the oldest <linux/fuse.h> we build with
 * (7.38, Linux 6.2). Each block names the protocol and the kernel that brought
 * it; where the system's header knows better, the system's header wins.
 */
#ifndef SLUICE_FS_SESSION_KERNEL_ABI_H
#define SLUICE_FS_SESSION_KERNEL_ABI_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/fuse.h>

/** Newest protocol minor that this code was checked against. */
#define FS_FUSE_MINOR 45

/** Set in the unique number of an INTERRUPT, beside that of its request. Linux 4.20. */
#define FS_FUSE_INTERRUPT_BIT UINT64_C(1)

/* Extension of a request that creates: supplementary groups. 7.38, Linux 6.3 */
#define FS_FUSE_EXT_GROUPS 32

struct fs_fuse_supp_groups {
    uint32_t count; /* of the 32-bit group ids that follow */
};

/* INIT flags; bits 32 and up travel in flags2 */
#define FS_FUSE_CREATE_SUPP_GROUP    (UINT64_C(1) << 34) /* 7.38, Linux 6.3 */
#define FS_FUSE_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36) /* 7.39, Linux 6.6 */
#define FS_FUSE_PASSTHROUGH          (UINT64_C(1) << 37) /* 7.40, Linux 6.9 */
#define FS_FUSE_NO_EXPORT_SUPPORT    (UINT64_C(1) << 38) /* 7.40, Linux 6.9 */
#define FS_FUSE_HAS_RESEND           (UINT64_C(1) << 39) /* 7.40, Linux 6.9 */
#define FS_FUSE_ALLOW_IDMAP          (UINT64_C(1) << 40) /* 7.41, Linux 6.12 */
#define FS_FUSE_OVER_IO_URING        (UINT64_C(1) << 41) /* 7.42, Linux 6.14 */
#define FS_FUSE_REQUEST_TIMEOUT      (UINT64_C(1) << 42) /* 7.43, Linux 6.15 */

/* Kernel passthrough: 7.40, Linux 6.9 */
#define FS_FOPEN_PASSTHROUGH (1u << 7)

struct fs_fuse_backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};

#define FS_FUSE_DEV_IOC_BACKING_OPEN  _IOW(229, 1, struct fs_fuse_backing_map)
#define FS_FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

/** fuse_init_out.max_stack_depth, which older headers count as unused. */
static inline void fs_fuse_set_max_stack_depth(struct fuse_init_out *out, uint32_t depth)
{
    memcpy((char *)out + offsetof(struct fuse_init_out, flags2) + sizeof(out->flags2), &depth,
           sizeof(depth));
}

/** fuse_open_out.backing_id, which older headers call padding. */
static inline void fs_fuse_set_backing_id(struct fuse_open_out *out, int32_t id)
{
    memcpy((char *)out + offsetof(struct fuse_open_out, open_flags) + sizeof(out->open_flags), &id,
           sizeof(id));
}

/* FUSE_NOTIFY_INVAL_ENTRY with flags, which older headers call padding. 7.38, Linux 6.2 */
#define FS_FUSE_EXPIRE_ONLY (1u << 0)

struct fs_fuse_notify_inval_entry_out {
    uint64_t parent;
    uint32_t namelen;
    uint32_t flags;
};

/* Notification without a body: names that the kernel has cached are old. 7.44, Linux 6.16 */
#define FS_FUSE_NOTIFY_INC_EPOCH 8

/* Notification: node ids that the kernel may forget. 7.45, Linux 6.18 */
#define FS_FUSE_NOTIFY_PRUNE 9

struct fs_fuse_notify_prune_out {
    uint32_t count; /* of the 64-bit node ids that follow */
    uint32_t padding;
    uint64_t spare;
};

/* FUSE_STATX: 7.39, Linux 6.6 */
#define FS_FUSE_STATX 52

struct fs_fuse_statx_in {
    uint32_t getattr_flags; /* this and the next two as in fuse_getattr_in */
    uint32_t reserved;
    uint64_t fh;
    uint32_t sx_flags;
    uint32_t sx_mask;
};

struct fs_fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t reserved;
};

struct fs_fuse_statx {
    uint32_t mask;
    uint32_t blksize;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare0;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct fs_fuse_sx_time atime;
    struct fs_fuse_sx_time btime;
    struct fs_fuse_sx_time ctime;
    struct fs_fuse_sx_time mtime;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t spare2[14];
};

struct fs_fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec;
    uint32_t flags;
    uint64_t spare[2];
    struct fs_fuse_statx stat;
};

/* FUSE over io_uring: 7.42, Linux 6.14. Commands of IORING_OP_URING_CMD on /dev/fuse. */
#define FS_FUSE_URING_REGISTER         1
#define FS_FUSE_URING_COMMIT_AND_FETCH 2

/** In the command area of the 128-byte SQE. */
struct fs_fuse_uring_command {
    uint64_t flags;
    uint64_t commit_id;
    uint16_t qid;
    uint8_t padding[6];
};

/** First of the two buffers of an entry; the second is for the payload. */
struct fs_fuse_uring_header {
    char in_out[128]; /* fuse_in_header, then fuse_out_header */
    char op_in[128];  /* the operation's own structure */
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_size;
    uint32_t padding;
    uint64_t reserved;
};

_Static_assert(sizeof(struct fuse_init_out) == 64, "FUSE_INIT answer");
_Static_assert(sizeof(struct fuse_open_out) == 16, "FUSE_OPEN answer");
_Static_assert(sizeof(struct fs_fuse_uring_command) == 24, "command of FUSE over io_uring");
_Static_assert(sizeof(struct fs_fuse_uring_header) == 288, "header of FUSE over io_uring");
_Static_assert(sizeof(struct fs_fuse_statx_in) == 24, "FUSE_STATX request");
_Static_assert(sizeof(struct fs_fuse_statx) == 256, "FUSE_STATX attributes");
_Static_assert(sizeof(struct fs_fuse_statx_out) == 288, "FUSE_STATX answer");

#endif /* SLUICE_FS_SESSION_KERNEL_ABI_H */
