/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Lengths inside a request, before anybody trusts them. */
#ifndef SLUICE_FS_SESSION_CHECK_H
#define SLUICE_FS_SESSION_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/fuse.h>

/**
 * Whether a request is as long as its operation says: argument structure,
 * names with their terminators, data. @length: bytes at @in, headers included,
 * at least sizeof(*in). Unknown operations pass: libfuse answers ENOSYS.
 */
bool fs_check_request(const struct fuse_in_header *in, size_t length);

#endif /* SLUICE_FS_SESSION_CHECK_H */
