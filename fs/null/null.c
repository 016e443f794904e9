/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file system without a store: see null.h.
 *
 * The inodes are constants: 1 is the directory, 2 and up the files in the
 * order of files[]. Nothing is remembered, so nothing needs a lock.
 */
#include "fs/null/null.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "aio/bh.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/session.h"

/** Attributes never change: the kernel may keep them. */
#define FOREVER 86400.0

#define FIRST_FILE (FUSE_ROOT_ID + 1)

struct FsNull {
    uid_t uid;
    gid_t gid;
    struct timespec born;
};

typedef void AnswerFn(FsRequest *request);

typedef struct NullFile {
    const char *name;
    AnswerFn *answer;    /* completes a READ or WRITE */
    uint32_t open_flags; /* FOPEN_* */
} NullFile;

/** What is left to do when the answer is due, in the request's scratch. */
typedef struct NullIo {
    CqeHandler cqe;
    FsRequest *request;
    size_t length;
    bool is_read;
} NullIo;

_Static_assert(sizeof(NullIo) <= FS_REQUEST_SCRATCH, "a READ needs no allocation");

static void answer_now(FsRequest *request)
{
    const NullIo *io = fs_request_scratch(request);

    if (io->is_read) {
        fs_request_reply_data(request, io->length);
    } else {
        fs_request_reply_write(request, io->length);
    }
}

static void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

static void nop_done(CqeHandler *handler)
{
    answer_now(aio_container_of(handler, NullIo, cqe)->request);
}

static void answer_bh(void *opaque)
{
    answer_now(opaque);
}

static void answer_by_ring(FsRequest *request)
{
    NullIo *io = fs_request_scratch(request);
    AioContext *ctx = fs_request_context(request);
    AioRing *ring = aio_context_ring(ctx);

    if (ring != NULL) {
        io->cqe.callback = nop_done;
        aio_ring_add(ring, prepare_nop, NULL, &io->cqe);
    } else {
        aio_bh_call_once(ctx, answer_bh, request);
    }
}

static void answer_on_helper(FsRequest *request, void *opaque)
{
    answer_now(request);
}

static void answer_by_helper(FsRequest *request)
{
    fs_request_offload(request, NULL, answer_on_helper, NULL);
}

static const NullFile files[] = {
    {"null", answer_now, FOPEN_KEEP_CACHE},
    {"direct", answer_now, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES},
    {"async", answer_by_ring, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES},
    {"helper", answer_by_helper, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES},
};

/** NULL: not a file. */
static const NullFile *file_of(fuse_ino_t ino)
{
    if (ino < FIRST_FILE || ino - FIRST_FILE >= G_N_ELEMENTS(files)) {
        return NULL;
    }
    return &files[ino - FIRST_FILE];
}

static struct stat stat_of(const FsNull *null, fuse_ino_t ino)
{
    const bool is_file = file_of(ino) != NULL;
    return (struct stat){
        .st_ino = ino,
        .st_mode = is_file ? S_IFREG | 0666 : S_IFDIR | 0755,
        .st_nlink = is_file ? 1 : 2,
        .st_uid = null->uid,
        .st_gid = null->gid,
        .st_size = is_file ? FS_NULL_FILE_SIZE : 0,
        .st_blksize = 4096,
        .st_atim = null->born,
        .st_mtim = null->born,
        .st_ctim = null->born,
    };
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (parent == FUSE_ROOT_ID && strcmp(name, files[i].name) == 0) {
            const struct fuse_entry_param entry = {
                .ino = FIRST_FILE + i,
                .attr = stat_of(fuse_req_userdata(req), FIRST_FILE + i),
                .attr_timeout = FOREVER,
                .entry_timeout = FOREVER,
            };
            fuse_reply_entry(req, &entry);
            return;
        }
    }
    fuse_reply_err(req, ENOENT);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct stat attr = stat_of(fuse_req_userdata(req), ino);
    fuse_reply_attr(req, &attr, FOREVER);
}

/** Truncation and new times are swallowed like writes. */
static void null_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                         struct fuse_file_info *fi)
{
    null_getattr(req, ino, fi);
}

static struct statx_timestamp statx_time(struct timespec time)
{
    return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

static void null_statx(fuse_req_t req, fuse_ino_t ino, unsigned flags, unsigned mask,
                       struct fuse_file_info *fi)
{
    const FsNull *null = fuse_req_userdata(req);
    const struct stat attr = stat_of(null, ino);
    const struct statx stx = {
        .stx_mask = STATX_BASIC_STATS | STATX_BTIME,
        .stx_blksize = (uint32_t)attr.st_blksize,
        .stx_nlink = (uint32_t)attr.st_nlink,
        .stx_uid = attr.st_uid,
        .stx_gid = attr.st_gid,
        .stx_mode = (uint16_t)attr.st_mode,
        .stx_ino = attr.st_ino,
        .stx_size = (uint64_t)attr.st_size,
        .stx_atime = statx_time(null->born),
        .stx_btime = statx_time(null->born),
        .stx_ctime = statx_time(null->born),
        .stx_mtime = statx_time(null->born),
    };
    fs_reply_statx(req, &stx, FOREVER);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const NullFile *file = file_of(ino);

    if (file == NULL) {
        fuse_reply_err(req, EISDIR);
        return;
    }
    fs_request_set_open_flags(fs_request_current(), file->open_flags);
    fuse_reply_open(req, fi);
}

static void start_io(fuse_ino_t ino, size_t length, bool is_read)
{
    FsRequest *request = fs_request_current();
    NullIo *io = fs_request_scratch(request);
    const NullFile *file = file_of(ino);

    if (file == NULL) {
        fs_request_reply_error(request, EISDIR);
        return;
    }
    *io = (NullIo){.request = request, .length = length, .is_read = is_read};
    file->answer(request);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                      struct fuse_file_info *fi)
{
    size_t length = off < FS_NULL_FILE_SIZE ? MIN(size, (size_t)(FS_NULL_FILE_SIZE - off)) : 0;
    void *data = fs_request_data_buffer(fs_request_current(), length);

    if (data == NULL || off < 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    memset(data, 0, length);
    start_io(ino, length, true);
}

static void null_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,
                           struct fuse_file_info *fi)
{
    start_io(ino, fuse_buf_size(bufv), false);
}

static void null_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

/** Directory offsets: 0 ".", 1 "..", then the files. */
static void null_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                         struct fuse_file_info *fi)
{
    char buf[1024];
    size_t used = 0;

    size = MIN(size, sizeof(buf));
    for (size_t i = off < 0 ? G_MAXSIZE : (size_t)off; i < G_N_ELEMENTS(files) + 2; i++) {
        const bool is_file = i >= 2;
        const char *name = is_file ? files[i - 2].name : i == 0 ? "." : "..";
        const struct stat attr = {
            .st_ino = is_file ? FIRST_FILE + i - 2 : FUSE_ROOT_ID,
            .st_mode = is_file ? S_IFREG : S_IFDIR,
        };
        size_t length = fuse_add_direntry(req, buf + used, size - used, name, &attr, (off_t)i + 1);
        if (length > size - used) {
            break;
        }
        used += length;
    }
    fuse_reply_buf(req, buf, used);
}

static void null_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct statvfs info = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_files = G_N_ELEMENTS(files) + 1,
        .f_namemax = 255,
    };
    fuse_reply_statfs(req, &info);
}

const FsFilesystem *fs_null_filesystem(void)
{
    static const FsFilesystem filesystem = {
        .name = "null",
        .ops =
            {
                .lookup = null_lookup,
                .getattr = null_getattr,
                .setattr = null_setattr,
                .open = null_open,
                .read = null_read,
                .write_buf = null_write_buf,
                .fsync = null_fsync,
                .readdir = null_readdir,
                .statfs = null_statfs,
            },
        .extra = {.statx = null_statx},
    };
    return &filesystem;
}

FsNull *fs_null_new(void)
{
    FsNull *null = g_new0(FsNull, 1);
    null->uid = getuid();
    null->gid = getgid();
    clock_gettime(CLOCK_REALTIME, &null->born);
    return null;
}

void fs_null_free(FsNull *null)
{
    g_free(null);
}
