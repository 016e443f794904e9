/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The names of a disk's directory: constant once made. */
#ifndef SLUICE_FS_DISK_TREE_H
#define SLUICE_FS_DISK_TREE_H

#include "fs/block/node.h"
#include "fs/disk/table.h"

typedef enum DiskEntryKind { DISK_DIRECTORY, DISK_FILE, DISK_LINK } DiskEntryKind;

/** Inode number n is entry n - 1; the root is 1. */
typedef struct DiskEntry {
    DiskEntryKind kind;
    uint64_t parent; /**< inode number */
    char *name;
    BlockNode *node; /**< DISK_FILE: referenced */
    char *target;    /**< DISK_LINK */
} DiskEntry;

typedef struct DiskTree {
    GArray *entries; /**< of DiskEntry */
} DiskTree;

/** The entries of @disk with @table, or of the partition @only of it. */
DiskTree *disk_tree_new(BlockNode *disk, const DiskTable *table, const DiskPartition *only,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;
void disk_tree_free(DiskTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskTree, disk_tree_free)

/** The entry with inode number @ino, or NULL. */
const DiskEntry *disk_tree_get(const DiskTree *tree, uint64_t ino);

/** The inode number of @name in the directory @parent, or 0. */
uint64_t disk_tree_lookup(const DiskTree *tree, uint64_t parent, const char *name);

#endif /* SLUICE_FS_DISK_TREE_H */
