/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What OPEN, CREATE and TMPFILE share (file.c). Private to fs/passthrough. */
#ifndef SLUICE_FS_PASSTHROUGH_OPEN_CALL_H
#define SLUICE_FS_PASSTHROUGH_OPEN_CALL_H

#include "fs/passthrough/operations.h"

/** What such a request needs while it waits for a helper: nothing of the worker's stack. */
typedef struct FsOpenCall {
    FsPassthrough *pt;
    FsInode *inode;                /**< referenced */
    struct fuse_file_info fi;      /**< in: flags; out: the answer */
    struct fuse_entry_param entry; /**< of a CREATE */
    bool is_create;
    bool kill_set_id;
    struct fuse_ctx caller;
} FsOpenCall;

/** The call that @req is, without inode. While it is the current request. */
FsOpenCall fs_open_call(fuse_req_t req, const struct fuse_file_info *fi);

/** Whether it cuts so much off an inode that a worker shall not do it. */
bool fs_open_truncates_huge(const FsOpenCall *call);

/**
 * Open what @path_fd (O_PATH) is, without waiting if O_NONBLOCK is in @flags; that flag does not
 * stay. Descriptor or negative errno.
 */
int fs_open_path(FsPassthrough *pt, int path_fd, int flags);

/** Make a handle of @fd, which is consumed, and answer. @flags: those it was opened with. */
void fs_open_reply(FsRequest *request, FsOpenCall *call, int fd, int flags);

/**
 * Answer with what was there already and is open as @fd, which is consumed, or with the negative
 * errno in it.
 */
void fs_open_reply_existing(FsRequest *request, FsOpenCall *call, int fd, int flags);

#endif /* SLUICE_FS_PASSTHROUGH_OPEN_CALL_H */
