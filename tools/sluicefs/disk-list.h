/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs disk --list: the partitions of a disk, for people and programs. */
#ifndef SLUICE_TOOLS_DISK_LIST_H
#define SLUICE_TOOLS_DISK_LIST_H

#include "fs/block/node.h"
#include "fs/disk/table.h"

void disk_list_text(const char *source, const BlockNode *disk, const DiskTable *table);
void disk_list_json(const char *source, const BlockNode *disk, const DiskTable *table);

#endif /* SLUICE_TOOLS_DISK_LIST_H */
