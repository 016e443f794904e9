/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From libfuse's writev to the transport of the request that is answered. */
#ifndef SLUICE_FS_SESSION_REPLY_H
#define SLUICE_FS_SESSION_REPLY_H

#include "fs/session/request-internal.h"

/** Give libfuse our way to send: to be called after fuse_session_mount(). 0 or negative errno. */
int fs_reply_install(struct fuse_session *fuse);

/** Answer a request that libfuse never saw. Worker thread. */
void fs_reply_raw_error(FsRequest *request, int error);

#endif /* SLUICE_FS_SESSION_REPLY_H */
