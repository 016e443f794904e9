/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A descriptor with a disk's size and the parts of it that tell what is on it, for
 * libraries that read from a descriptor, where the disk is not in one file as it is.
 */
#ifndef SLUICE_FS_DISK_WINDOW_H
#define SLUICE_FS_DISK_WINDOW_H

#include "fs/block/node.h"

/**
 * A window with the beginning, the end and the chain of logical partitions of @disk; the rest
 * reads as zeros. -1 with @error. Close it. Before any worker runs.
 */
int disk_window_new(BlockNode *disk, GError **error);

/** Add the beginning and the end of a part. What cannot be read stays zero. */
void disk_window_add(int fd, BlockNode *disk, int64_t offset, int64_t length);

#endif /* SLUICE_FS_DISK_WINDOW_H */
