/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the blocks of a file are: see map.h.
 *
 * How it works: each look goes down the tree from the inode, through blocks in the buffer
 * cache, with a binary search in each. A node is checked when it is read (its head, its
 * checksum, the order of its entries), the depth on the way down, which is what ends every walk,
 * and each range of blocks before it is used.
 */
#include "fs/ext4/map.h"

#include <errno.h>
#include <string.h>

#include <ext2fs/ext3_extents.h>

#include "fs/ext4/volume.h"

#define DEPTH_MAX       5
#define WRITTEN_MAX     32768 /* a longer length: an unwritten extent that much shorter */
#define INODE_BYTES     (EXT2_N_BLOCKS * sizeof(uint32_t))
#define LOGICAL_END     (UINT64_C(1) << 32) /* of files with extents */
#define POINTER_LEVELS  3
#define NOTHING_FURTHER (UINT64_C(1) << 48) /* blocks: more than any file has */

/* --- extents --- */

/* The entries of a node; extents and index entries are equally long. */
typedef struct Node {
    const uint8_t *entries;
    unsigned count, depth;
} Node;

static_assert(sizeof(struct ext3_extent) == 12 && sizeof(struct ext3_extent_idx) == 12 &&
                  sizeof(struct ext3_extent_header) == 12,
              "sizes on the disk");

static uint32_t entry_start(const Node *node, unsigned index)
{
    uint32_t start;

    memcpy(&start, node->entries + (size_t)index * sizeof(struct ext3_extent), sizeof(start));
    return start;
}

/* The node in the @size bytes at @data. False: it is none. */
static bool node_parse(const uint8_t *data, size_t size, Node *node)
{
    struct ext3_extent_header header;

    memcpy(&header, data, sizeof(header));
    if (header.eh_magic != EXT3_EXT_MAGIC || header.eh_depth > DEPTH_MAX ||
        header.eh_entries > header.eh_max ||
        header.eh_max > (size - sizeof(header)) / sizeof(struct ext3_extent)) {
        return false;
    }
    *node = (Node){
        .entries = data + sizeof(header),
        .count = header.eh_entries,
        .depth = header.eh_depth,
    };
    return true;
}

static bool check_node(const Ext4Volume *volume, const Ext4Inode *owner, uint64_t block,
                       const uint8_t *data)
{
    struct ext3_extent_header header;
    Node node;

    if (!node_parse(data, volume->block_size, &node) || node.count == 0) {
        return false;
    }
    for (unsigned i = 1; i < node.count; i++) {
        if (entry_start(&node, i) <= entry_start(&node, i - 1)) {
            return false;
        }
    }
    if (volume->checksums) {
        uint32_t stored;

        memcpy(&header, data, sizeof(header));
        size_t end = sizeof(header) + (size_t)header.eh_max * sizeof(struct ext3_extent);
        if (end + sizeof(stored) > volume->block_size) {
            return false;
        }
        memcpy(&stored, data + end, sizeof(stored));
        return ext2fs_crc32c_le(owner->checksum_seed, data, end) == stored;
    }
    return true;
}

/* The last entry that begins at or before @logical; -1: all begin behind it. */
static int search(const Node *node, uint64_t logical)
{
    unsigned low = 0, high = node->count;

    while (low < high) {
        const unsigned middle = low + (high - low) / 2;

        if (entry_start(node, middle) <= logical) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (int)low - 1;
}

/* The run at @logical, which entry @index of a leaf begins before; it ends before @limit. */
static int leaf_run(Ext4Volume *volume, const Ext4Inode *inode, const Node *node, int index,
                    uint64_t logical, uint64_t limit, Ext4Run *run)
{
    struct ext3_extent extent;
    uint64_t skip, length, physical;

    *run = (Ext4Run){.length = limit - logical};
    if (index < 0) {
        return 0;
    }
    memcpy(&extent, node->entries + (size_t)index * sizeof(extent), sizeof(extent));
    skip = logical - extent.ee_block;
    length = extent.ee_len > WRITTEN_MAX ? extent.ee_len - WRITTEN_MAX : extent.ee_len;
    physical = extent.ee_start | (uint64_t)extent.ee_start_hi << 32;
    if (length == 0 || !ext4_has_blocks(volume, physical, length)) {
        return ext4_damaged(volume, inode->ino, "an extent lies outside of the file system");
    }
    if (skip < length) {
        run->length = MIN(length - skip, limit - logical);
        run->physical = extent.ee_len > WRITTEN_MAX ? 0 : physical + skip;
    }
    return 0;
}

static int map_extents(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical, Ext4Run *run)
{
    g_autoptr(Ext4Buffer) buffer = NULL;
    uint64_t limit = LOGICAL_END;
    Node node;

    if (logical >= LOGICAL_END) {
        *run = (Ext4Run){.length = NOTHING_FURTHER};
        return 0;
    }
    if (!node_parse(ext4_inode_block(inode), INODE_BYTES, &node)) {
        return ext4_damaged(volume, inode->ino, "the root of its extents is damaged");
    }
    for (;;) {
        const int index = search(&node, logical);
        const unsigned depth = node.depth;
        struct ext3_extent_idx below;
        Ext4Buffer *child;
        int result;

        if (index + 1 < (int)node.count) {
            limit = MIN(limit, entry_start(&node, (unsigned)(index + 1)));
        }
        /* Entries of the root are not checked for their order. */
        if (limit <= logical) {
            return ext4_damaged(volume, inode->ino, "its extents are not in order");
        }
        if (depth == 0) {
            return leaf_run(volume, inode, &node, index, logical, limit, run);
        }
        if (index < 0) {
            *run = (Ext4Run){.length = limit - logical};
            return 0;
        }
        memcpy(&below, node.entries + (size_t)index * sizeof(below), sizeof(below));
        result = ext4_buffer_get(volume, EXT4_BLOCK_EXTENTS, inode,
                                 below.ei_leaf | (uint64_t)below.ei_leaf_hi << 32, 1, check_node,
                                 &child);
        if (result < 0) {
            return result == -EUCLEAN
                       ? ext4_damaged(volume, inode->ino, "a block of its extents is damaged")
                       : result;
        }
        ext4_buffer_put(buffer);
        buffer = child;
        if (!node_parse(buffer->data, volume->block_size, &node) || node.depth != depth - 1) {
            return ext4_damaged(volume, inode->ino, "the depth of its extents is wrong");
        }
    }
}

/* --- blocks of pointers --- */

/* The run of @count pointers at @pointers, which are those of data. */
static int pointer_run(Ext4Volume *volume, const Ext4Inode *inode, const uint8_t *pointers,
                       uint64_t count, Ext4Run *run)
{
    uint32_t first, next;

    memcpy(&first, pointers, sizeof(first));
    *run = (Ext4Run){.length = 1, .physical = first};
    while (run->length < count) {
        memcpy(&next, pointers + run->length * sizeof(next), sizeof(next));
        if (next != (first == 0 ? 0 : first + run->length)) {
            break;
        }
        run->length++;
    }
    if (first != 0 && !ext4_has_blocks(volume, first, run->length)) {
        return ext4_damaged(volume, inode->ino, "a block lies outside of the file system");
    }
    return 0;
}

static int map_pointers(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical, Ext4Run *run)
{
    const uint8_t *roots = ext4_inode_block(inode);
    const unsigned bits = volume->block_bits - 2; /* of the pointers in a block */
    const uint64_t each = UINT64_C(1) << bits;
    g_autoptr(Ext4Buffer) buffer = NULL;
    uint64_t inside = logical - EXT2_NDIR_BLOCKS;
    unsigned level = 1;
    uint32_t pointer;

    if (logical < EXT2_NDIR_BLOCKS) {
        return pointer_run(volume, inode, roots + logical * sizeof(pointer),
                           EXT2_NDIR_BLOCKS - logical, run);
    }
    while (level <= POINTER_LEVELS && inside >> (level * bits) != 0) {
        inside -= UINT64_C(1) << (level * bits);
        level++;
    }
    if (level > POINTER_LEVELS) {
        *run = (Ext4Run){.length = NOTHING_FURTHER};
        return 0;
    }
    memcpy(&pointer, roots + (EXT2_NDIR_BLOCKS + level - 1) * sizeof(pointer), sizeof(pointer));
    for (;; level--) {
        const unsigned shift = (level - 1) * bits; /* of the blocks below one pointer */
        Ext4Buffer *child;
        int result;

        if (pointer == 0) {
            *run = (Ext4Run){.length = (UINT64_C(1) << (shift + bits)) - inside};
            return 0;
        }
        result = ext4_buffer_get(volume, EXT4_BLOCK_POINTERS, inode, pointer, 1, NULL, &child);
        if (result < 0) {
            return result == -EUCLEAN
                       ? ext4_damaged(volume, inode->ino, "its blocks of pointers are damaged")
                       : result;
        }
        ext4_buffer_put(buffer);
        buffer = child;
        const uint64_t index = inside >> shift;
        if (level == 1) {
            return pointer_run(volume, inode, buffer->data + index * sizeof(pointer), each - index,
                               run);
        }
        memcpy(&pointer, buffer->data + index * sizeof(pointer), sizeof(pointer));
        inside &= (UINT64_C(1) << shift) - 1;
    }
}

int ext4_map(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical, Ext4Run *run)
{
    return inode->flags & EXT4_EXTENTS_FL ? map_extents(volume, inode, logical, run)
                                          : map_pointers(volume, inode, logical, run);
}
