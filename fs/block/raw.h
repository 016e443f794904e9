/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A file or block device as it is. */
#ifndef SLUICE_FS_BLOCK_RAW_H
#define SLUICE_FS_BLOCK_RAW_H

#include "fs/block/node.h"

/**
 * A node over the open @fd, which it takes over, also on failure. With @direct, @fd was
 * opened with O_DIRECT.
 */
BlockNode *block_raw_new(int fd, const char *name, bool read_only, bool direct,
                         GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * For a node that was found to be raw by its content alone: from now on refuse to write
 * what would make it look like a qcow2 image, with EPERM. Before any request.
 */
void block_raw_guard_format(BlockNode *node);

/** The descriptor of a raw node (any other: -1); the node's. */
int block_raw_fd(const BlockNode *node);

#endif /* SLUICE_FS_BLOCK_RAW_H */
