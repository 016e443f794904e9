/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Names that were looked up, also those that are not there, in memory. Any thread. */
#ifndef SLUICE_FS_EXT4_NAMES_H
#define SLUICE_FS_EXT4_NAMES_H

#include "fs/ext4/cache.h"

/** A cache of names with room for @limit bytes. */
Ext4Cache *ext4_names_new(size_t limit);

/** Whether it is known where @name in @directory leads to: to *@ino, 0 if it is not there. */
bool ext4_names_find(Ext4Cache *names, uint32_t directory, const char *name, uint32_t *ino);

/** @name in @directory leads to @ino, 0: is not there. */
void ext4_names_add(Ext4Cache *names, uint32_t directory, const char *name, uint32_t ino);

#endif /* SLUICE_FS_EXT4_NAMES_H */
