/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A disk as a directory: the files disk and part1, part2, ..., and links to these
 * by label and UUID. See docs/design/disk.md.
 */
#ifndef SLUICE_FS_DISK_DISK_H
#define SLUICE_FS_DISK_DISK_H

#include "fs/block/node.h"
#include "fs/disk/table.h"
#include "fs/session/filesystem.h"

typedef struct FsDisk FsDisk;

typedef struct FsDiskStats {
    uint64_t reads, writes, flushes, zeroes;
} FsDiskStats;

const FsFilesystem *disk_filesystem(void);

/**
 * The directory of @disk, with its @table; @only: with nothing but this partition of it.
 * Takes a reference on @disk; @table may be freed afterwards.
 */
FsDisk *disk_new(BlockNode *disk, const DiskTable *table, const DiskPartition *only,
                 GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Make durable what was written, when nobody serves it any more; false with @error: it is lost. */
bool disk_flush(FsDisk *disk, GError **error);
void disk_free(FsDisk *disk);

/** Any thread. */
void disk_get_stats(const FsDisk *disk, FsDiskStats *stats);

#endif /* SLUICE_FS_DISK_DISK_H */
