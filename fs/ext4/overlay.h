/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What a journal holds instead of blocks of the file system: constant once made.
 *
 * A replay would copy these from the log to their places; here they are read from the log.
 */
#ifndef SLUICE_FS_EXT4_OVERLAY_H
#define SLUICE_FS_EXT4_OVERLAY_H

#include "fs/block/node.h"

/** A block whose newest copy is in the log. */
typedef struct Ext4Logged {
    uint64_t block; /**< where it belongs */
    uint64_t copy;  /**< where it is */
    bool escaped;   /**< it begins with the journal's magic number, which the copy has not */
} Ext4Logged;

typedef struct Ext4Overlay {
    Ext4Logged *blocks; /**< by rising block */
    size_t count;
    unsigned block_size;
} Ext4Overlay;

void ext4_overlay_free(Ext4Overlay *overlay);

/**
 * Where to read block @block, and how many of *@count from there on lie next to each other:
 * as many, or fewer. @overlay may be NULL. *@escaped: restore the first bytes, see below.
 */
uint64_t ext4_overlay_find(const Ext4Overlay *overlay, uint64_t block, uint64_t *count,
                           bool *escaped);

/** Restore what was read from an escaped block: @length bytes from its byte @inside on. */
void ext4_overlay_unescape(uint8_t *data, size_t length, uint64_t inside);

/** Read any bytes of @node as they are after the replay. Before any worker runs. */
int ext4_overlay_read_now(BlockNode *node, const Ext4Overlay *overlay, void *buffer, size_t length,
                          int64_t offset);

#endif /* SLUICE_FS_EXT4_OVERLAY_H */
