/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What a file system gives to a session. */
#ifndef SLUICE_FS_SESSION_FILESYSTEM_H
#define SLUICE_FS_SESSION_FILESYSTEM_H

#include "fs/session/request.h"

#include <sys/stat.h>

struct statx;
struct FsInitResult;

/**
 * Operations that libfuse 3.14 does not decode; the session does. Answered
 * through fs_reply_statx() and fuse_reply_create().
 */
typedef struct FsExtraOps {
    /** FUSE_STATX (7.39). @fi: NULL if not on an open file. */
    void (*statx)(fuse_req_t req, fuse_ino_t ino, unsigned flags, unsigned mask,
                  struct fuse_file_info *fi);
    /** FUSE_TMPFILE (7.37): an unnamed file in @parent, opened. */
    void (*tmpfile)(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
} FsExtraOps;

/** INIT bits that a file system wants beyond those every session asks for. */
typedef struct FsFilesystem {
    const char *name;
    struct fuse_lowlevel_ops ops; /**< read_buf/write_buf: use write_buf or write */
    FsExtraOps extra;
    uint64_t want_flags;   /**< FUSE_* INIT bits (flags2 in the upper half) if offered */
    uint64_t refuse_flags; /**< never to be set */
    /** What INIT settles; before any other request, on a worker. May be NULL. */
    void (*settled)(void *userdata, const struct FsInitResult *init);
    /**
     * The session is being freed: threads of the file system that notify the kernel are to be
     * joined. No notification is under way any more and none can begin
     * (fs_session_begin_notification()). Main thread; in any phase. May be NULL.
     */
    void (*ending)(void *userdata);
} FsFilesystem;

/** Answer FUSE_STATX. @attr_timeout in seconds. 0 or negative errno. */
int fs_reply_statx(fuse_req_t req, const struct statx *stx, double attr_timeout);

/**
 * Open flags that libfuse 3.14 has no field for: set before fuse_reply_open()
 * or fuse_reply_create() on the current request.
 */
void fs_request_set_open_flags(FsRequest *request, uint32_t fopen_flags);

/**
 * Answer the OPEN or CREATE with kernel passthrough: the kernel does the file's I/O on what was
 * registered as @backing_id. Like fs_request_set_open_flags().
 */
void fs_request_set_backing_id(FsRequest *request, int backing_id);

#endif /* SLUICE_FS_SESSION_FILESYSTEM_H */
