/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What of requests libfuse 3.14 does not decode: STATX, TMPFILE, extensions. */
#ifndef SLUICE_FS_SESSION_EXTRA_H
#define SLUICE_FS_SESSION_EXTRA_H

#include <linux/fuse.h>

#include "fs/session/request-internal.h"

/**
 * Bring a SETXATTR of the form that FUSE_SETXATTR_EXT brought into the older
 * one, and keep its flag. False: it is too short. Before the request is checked.
 * Worker thread.
 */
bool fs_extra_shorten(FsRequest *request, struct fuse_in_header *in);

/** Take note of what the extensions behind the arguments say. @in has been checked. */
void fs_extra_read(FsRequest *request, const struct fuse_in_header *in);

/**
 * Let libfuse decode a request it does not know, by rewriting it in place as
 * one that it does. @in has been checked (check.h). Worker thread.
 */
void fs_extra_rewrite(FsRequest *request, struct fuse_in_header *in);

#endif /* SLUICE_FS_SESSION_EXTRA_H */
