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

/**
 * Let a format that manages the file itself read and write anywhere in it: from now on the
 * node has no end. What lies behind the file's end reads as zeros. Before any request.
 */
void block_raw_set_endless(BlockNode *node);

/** Cut the file to @size bytes. 0 or negative errno. When nothing else happens. */
int block_raw_truncate(BlockNode *node, int64_t size);

/** Make the file at least @size bytes long. 0 or negative errno. Any thread. */
int block_raw_extend(BlockNode *node, int64_t size);

/** The descriptor of a raw node (any other: -1); the node's. */
int block_raw_fd(const BlockNode *node);

#endif /* SLUICE_FS_BLOCK_RAW_H */
