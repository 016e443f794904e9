/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a journal holds instead of blocks of the file system: see overlay.h. */
#include "fs/ext4/overlay.h"

#include <string.h>

static const uint8_t magic[] = {0xc0, 0x3b, 0x39, 0x98};

void ext4_overlay_free(Ext4Overlay *overlay)
{
    if (overlay != NULL) {
        g_free(overlay->blocks);
        g_free(overlay);
    }
}

uint64_t ext4_overlay_find(const Ext4Overlay *overlay, uint64_t block, uint64_t *count,
                           bool *escaped)
{
    size_t low = 0, high = overlay == NULL ? 0 : overlay->count;

    *escaped = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (overlay->blocks[middle].block < block) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (overlay == NULL || low == overlay->count) {
        return block;
    }
    const Ext4Logged *next = &overlay->blocks[low];
    if (next->block != block) {
        *count = MIN(*count, next->block - block);
        return block;
    }
    *count = 1;
    *escaped = next->escaped;
    return next->copy;
}

void ext4_overlay_unescape(uint8_t *data, size_t length, uint64_t inside)
{
    if (inside < sizeof(magic)) {
        memcpy(data, magic + inside, MIN(length, sizeof(magic) - (size_t)inside));
    }
}

int ext4_overlay_read_now(BlockNode *node, const Ext4Overlay *overlay, void *buffer, size_t length,
                          int64_t offset)
{
    uint8_t *to = buffer;
    int result;

    if (overlay == NULL) {
        return block_read_now(node, buffer, length, offset);
    }
    for (result = 0; result == 0 && length > 0;) {
        const uint64_t inside = (uint64_t)offset % overlay->block_size;
        uint64_t count = (inside + length + overlay->block_size - 1) / overlay->block_size;
        bool escaped;
        const uint64_t block =
            ext4_overlay_find(overlay, (uint64_t)offset / overlay->block_size, &count, &escaped);
        const size_t bytes = (size_t)MIN(length, count * overlay->block_size - inside);

        result = block_read_now(node, to, bytes, (int64_t)(block * overlay->block_size + inside));
        if (escaped) {
            ext4_overlay_unescape(to, bytes, inside);
        }
        to += bytes;
        offset += (int64_t)bytes;
        length -= bytes;
    }
    return result;
}
