/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** INIT beyond what libfuse 3.14 knows: offered flags read, answer completed. */
#ifndef SLUICE_FS_SESSION_INIT_H
#define SLUICE_FS_SESSION_INIT_H

#include <stdbool.h>
#include <stddef.h>

#include <sys/uio.h>

#include "fs/session/session.h"

/** Oldest protocol minor that is served: Linux 3.15. */
#define FS_INIT_OLDEST_MINOR 23

/**
 * What the kernel asked for: fill the kernel_* fields of @result. False, with
 * a log line: too old, or malformed. A newer major number passes; libfuse
 * answers it with its own, and another INIT follows.
 */
bool fs_init_parse(const void *request, size_t length, FsInitResult *result);

/**
 * Complete libfuse's answer in place.
 *
 * @want_flags: INIT bits to ask for beside the file system's, the transport's among them
 * @body: fuse_init_out without its header, @length bytes
 * @result: kernel_* filled by fs_init_parse(); the rest is set here
 */
void fs_init_patch(const FsFilesystem *filesystem, uint64_t want_flags, void *body, size_t length,
                   FsInitResult *result);

#endif /* SLUICE_FS_SESSION_INIT_H */
