/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What is on a disk: its partition table, and the file systems in it. */
#ifndef SLUICE_FS_DISK_TABLE_H
#define SLUICE_FS_DISK_TABLE_H

#include "fs/block/node.h"

/** What is known of the content of a part of a disk. Strings may be NULL. */
typedef struct DiskContent {
    char *type; /**< "ext4", "swap", ... */
    char *label;
    char *uuid;
} DiskContent;

typedef struct DiskPartition {
    unsigned number; /**< as the table counts; 0: the whole disk, which has no table */
    int64_t offset, length;
    char *type;  /**< GPT: a UUID; MBR: "0x83" */
    char *label; /**< in the table; NULL: none */
    char *uuid;  /**< in the table; NULL: none */
    DiskContent content;
} DiskPartition;

typedef struct DiskTable {
    char *type;            /**< "gpt", "dos", ...; NULL: no table */
    char *id;              /**< of the table; NULL: none */
    GPtrArray *partitions; /**< of DiskPartition, in the order of the table */
} DiskTable;

/**
 * Look what is on @disk. Without a table there is one partition with the number
 * 0 if the whole disk holds a file system. Before any worker runs.
 *
 * Partitions that lie outside of the disk are left out, those that reach beyond its end
 * are cut, with a warning each.
 */
DiskTable *disk_table_read(BlockNode *disk, GError **error) G_GNUC_WARN_UNUSED_RESULT;

void disk_table_free(DiskTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskTable, disk_table_free)

/**
 * The partition that @text names: "3", "label:NAME" (of the file system or the
 * table), "uuid:UUID" (likewise, upper or lower case). An error says which there are.
 */
const DiskPartition *disk_table_find(const DiskTable *table, const char *text, GError **error);

#endif /* SLUICE_FS_DISK_TABLE_H */
