/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations that libfuse calls.
 *
 * How it works: libfuse makes its request handle while it decodes, after the
 * worker has set the thread's current request, and shows it to nobody but the
 * operation. So each operation of the file system is called through a small
 * one that binds the handle to the FsRequest. OPERATIONS lists those that only
 * do this; the few below it do a little more.
 */
#include "fs/session/ops.h"

#include <errno.h>

#include "fs/session/kernel-abi.h"
#include "fs/session/session-internal.h"

/** The file system's operations, after binding the current request to @req. */
static const FsFilesystem *bind_request(fuse_req_t req)
{
    return fs_request_session(fs_request_bind(req))->filesystem;
}

/* clang-format off */
#define OPERATIONS(X)                                                                              \
    X(lookup, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))          \
    X(setattr,                                                                                     \
      (fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi),  \
      (req, ino, attr, to_set, fi))                                                                \
    X(readlink, (fuse_req_t req, fuse_ino_t ino), (req, ino))                                      \
    X(mknod,                                                                                       \
      (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev),              \
      (req, parent, name, mode, rdev))                                                             \
    X(mkdir,                                                                                       \
      (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode),                          \
      (req, parent, name, mode))                                                                   \
    X(unlink, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))          \
    X(rmdir, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))           \
    X(symlink,                                                                                     \
      (fuse_req_t req, const char *target, fuse_ino_t parent, const char *name),                   \
      (req, target, parent, name))                                                                 \
    X(rename,                                                                                      \
      (fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,                  \
       const char *newname, unsigned flags),                                                       \
      (req, parent, name, newparent, newname, flags))                                              \
    X(link,                                                                                        \
      (fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname),                 \
      (req, ino, newparent, newname))                                                              \
    X(open, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))           \
    X(read,                                                                                        \
      (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),         \
      (req, ino, size, off, fi))                                                                   \
    X(write,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,                    \
       struct fuse_file_info *fi),                                                                 \
      (req, ino, buf, size, off, fi))                                                              \
    X(flush, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))          \
    X(release, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))        \
    X(fsync,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi),                   \
      (req, ino, datasync, fi))                                                                    \
    X(opendir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))        \
    X(readdir,                                                                                     \
      (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),         \
      (req, ino, size, off, fi))                                                                   \
    X(readdirplus,                                                                                 \
      (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi),         \
      (req, ino, size, off, fi))                                                                   \
    X(releasedir, (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi), (req, ino, fi))     \
    X(fsyncdir,                                                                                    \
      (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi),                   \
      (req, ino, datasync, fi))                                                                    \
    X(statfs, (fuse_req_t req, fuse_ino_t ino), (req, ino))                                        \
    X(setxattr,                                                                                    \
      (fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,           \
       int flags),                                                                                 \
      (req, ino, name, value, size, flags))                                                        \
    X(getxattr,                                                                                    \
      (fuse_req_t req, fuse_ino_t ino, const char *name, size_t size),                             \
      (req, ino, name, size))                                                                      \
    X(listxattr, (fuse_req_t req, fuse_ino_t ino, size_t size), (req, ino, size))                  \
    X(removexattr, (fuse_req_t req, fuse_ino_t ino, const char *name), (req, ino, name))           \
    X(access, (fuse_req_t req, fuse_ino_t ino, int mask), (req, ino, mask))                        \
    X(getlk,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock),             \
      (req, ino, fi, lock))                                                                        \
    X(setlk,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int wait),   \
      (req, ino, fi, lock, wait))                                                                  \
    X(flock,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation),                  \
      (req, ino, fi, operation))                                                                   \
    X(ioctl,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,         \
       unsigned flags, const void *in_buf, size_t in_size, size_t out_size),                       \
      (req, ino, cmd, arg, fi, flags, in_buf, in_size, out_size))                                  \
    X(poll,                                                                                        \
      (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *handle), \
      (req, ino, fi, handle))                                                                      \
    X(write_buf,                                                                                   \
      (fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *bufv, off_t off,                        \
       struct fuse_file_info *fi),                                                                 \
      (req, ino, bufv, off, fi))                                                                   \
    X(fallocate,                                                                                   \
      (fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,                       \
       struct fuse_file_info *fi),                                                                 \
      (req, ino, mode, offset, length, fi))                                                        \
    X(copy_file_range,                                                                             \
      (fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,              \
       fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t length,            \
       int flags),                                                                                 \
      (req, ino_in, off_in, fi_in, ino_out, off_out, fi_out, length, flags))                       \
    X(lseek,                                                                                       \
      (fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi),          \
      (req, ino, off, whence, fi))
/* clang-format on */

#define DEFINE_OPERATION(name, parameters, arguments)                                              \
    static void op_##name parameters                                                               \
    {                                                                                              \
        bind_request(req)->ops.name arguments;                                                     \
    }
OPERATIONS(DEFINE_OPERATION)
#undef DEFINE_OPERATION

/** Limits of the session, then whatever the file system wants. In INIT. */
static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    FsSession *session = fs_request_session(fs_request_current());
    const FsFilesystem *filesystem = session->filesystem;

    conn->max_write = session->max_write;
    conn->max_background = session->params.max_background;
    conn->congestion_threshold = session->params.max_background * 3 / 4;
    if (filesystem->ops.init != NULL) {
        filesystem->ops.init(userdata, conn);
        conn->max_write = MIN(conn->max_write, session->max_write);
    }
}

/** GETATTR, or a STATX that extra.c dressed up as one. */
static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const FsFilesystem *filesystem = bind_request(req);
    const FsRequest *request = fs_request_current();

    if (request->opcode == FS_FUSE_STATX) {
        filesystem->extra.statx(req, ino, request->statx_flags, request->statx_mask, fi);
    } else if (filesystem->ops.getattr != NULL) {
        filesystem->ops.getattr(req, ino, fi);
    } else {
        fuse_reply_err(req, ENOSYS);
    }
}

/** CREATE, or a TMPFILE that extra.c dressed up as one. */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    const FsFilesystem *filesystem = bind_request(req);

    if (fs_request_current()->opcode == FUSE_TMPFILE) {
        filesystem->extra.tmpfile(req, parent, mode, fi);
    } else if (filesystem->ops.create != NULL) {
        filesystem->ops.create(req, parent, name, mode, fi);
    } else {
        fuse_reply_err(req, ENOSYS);
    }
}

/** Only fuseblk mounts ask for it; also what fs_ops_forget_interrupts() calls. */
static void op_bmap(fuse_req_t req, fuse_ino_t ino, size_t block_size, uint64_t index)
{
    const FsFilesystem *filesystem = bind_request(req);

    if (fs_request_current()->opcode == FUSE_BMAP && filesystem->ops.bmap != NULL) {
        filesystem->ops.bmap(req, ino, block_size, index);
    } else {
        fuse_reply_err(req, ENOSYS);
    }
}

void fs_ops_fill(struct fuse_lowlevel_ops *ops, const FsFilesystem *filesystem)
{
    *ops = (struct fuse_lowlevel_ops){
        .init = op_init,
        .destroy = filesystem->ops.destroy,
        .forget = filesystem->ops.forget,
        .forget_multi = filesystem->ops.forget_multi,
        .retrieve_reply = filesystem->ops.retrieve_reply,
        .getattr = op_getattr,
        .create = op_create,
        .bmap = op_bmap,
    };
#define FILL_OPERATION(name, parameters, arguments)                                                \
    if (filesystem->ops.name != NULL) {                                                            \
        ops->name = op_##name;                                                                     \
    }
    OPERATIONS(FILL_OPERATION)
#undef FILL_OPERATION
}

void fs_ops_forget_interrupts(FsSession *session)
{
    /* libfuse lets go of one kept INTERRUPT for each request that it decodes */
    struct {
        struct fuse_in_header header;
        struct fuse_bmap_in bmap;
    } message = {
        .header = {.len = sizeof(message), .opcode = FUSE_BMAP, .nodeid = FUSE_ROOT_ID},
    };
    const struct fuse_buf buf = {.mem = &message, .size = sizeof(message)};
    FsRequest request = {.worker = &session->workers[0], .opcode = FS_REQUEST_NO_OPCODE};
    size_t before;

    fs_request_swap_current(&request);
    do {
        before = request.used;
        fuse_session_process_buf(session->fuse, &buf);
    } while (request.used != before);
    fs_request_swap_current(NULL);
}
