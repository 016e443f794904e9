/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** STATX and TMPFILE, which libfuse 3.14 does not decode. */
#ifndef SLUICE_FS_SESSION_EXTRA_H
#define SLUICE_FS_SESSION_EXTRA_H

#include <linux/fuse.h>

#include "fs/session/request-internal.h"

/**
 * Let libfuse decode a request it does not know, by rewriting it in place as
 * one that it does. @in has been checked (check.h). Worker thread.
 */
void fs_extra_rewrite(FsRequest *request, struct fuse_in_header *in);

#endif /* SLUICE_FS_SESSION_EXTRA_H */
