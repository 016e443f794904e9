/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The operations that libfuse calls: they bind the request, then call the file system's. */
#ifndef SLUICE_FS_SESSION_OPS_H
#define SLUICE_FS_SESSION_OPS_H

#include "fs/session/filesystem.h"

/** Fill @ops for fuse_session_new(): an operation is set where @filesystem has it. */
void fs_ops_fill(struct fuse_lowlevel_ops *ops, const FsFilesystem *filesystem);

/**
 * Free the INTERRUPTs that libfuse keeps although their requests are gone.
 * Main thread, after the workers are drained.
 */
void fs_ops_forget_interrupts(FsSession *session);

#endif /* SLUICE_FS_SESSION_OPS_H */
