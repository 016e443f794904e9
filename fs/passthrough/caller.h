/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Who sent a request, beyond what the request says. */
#ifndef SLUICE_FS_PASSTHROUGH_CALLER_H
#define SLUICE_FS_PASSTHROUGH_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "fs/session/request.h"

/**
 * The ids with which the caller accesses files. With id mappings (FUSE_ALLOW_IDMAP)
 * requests that create nothing do not have them, and they are asked of /proc. False: nobody
 * knows, the caller has no rights; both ids are those of nobody. Any thread, while the
 * request is not answered.
 */
bool fs_caller_ids(const struct fuse_ctx *caller, uid_t *uid, gid_t *gid);

bool fs_caller_is_root(const struct fuse_ctx *caller);

/**
 * Whether the caller has CAP_SYS_ADMIN where the daemon has it. Root of a container, or one
 * that has given it up, has not. False if nobody knows. Any thread, while the request is not
 * answered.
 */
bool fs_caller_is_admin(const struct fuse_ctx *caller);

/** Whether the caller is in @group, also by a supplementary group. As fs_caller_ids(). */
bool fs_caller_in_group(const struct fuse_ctx *caller, gid_t group);

#endif /* SLUICE_FS_PASSTHROUGH_CALLER_H */
