/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the blocks of a file are: see map.h.
 *
 * How it works: what is known of a file's blocks is asked first (runs.h). Where nothing is, one
 * way down the tree from the inode, through blocks in the buffer cache, leads to the node that
 * covers the block, and all that this node tells is known from then on.
 *
 * A node is checked when it is read (its head, its checksum, the order of its entries), the depth
 * on the way down, which is what ends every walk, and each range of blocks when it becomes known. A
 * node counts only for the blocks that the entry above it leads to it for, up to the next
 * entry, so what nodes tell never overlaps.
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

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ext4Piece, ext4_piece_clear)

/* A range that is not mapped and that no node tells of. */
static int piece_hole(Ext4Piece *piece, uint64_t first, uint64_t limit)
{
    int result = ext4_piece_init(piece, 1);

    if (result == 0) {
        ext4_piece_append(piece, first, limit - first, EXT4_RUN_HOLE, 0);
    }
    return result;
}

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

static bool in_order(const Node *node)
{
    for (unsigned i = 1; i < node->count; i++) {
        if (entry_start(node, i) <= entry_start(node, i - 1)) {
            return false;
        }
    }
    return true;
}

static bool check_node(const Ext4Volume *volume, const Ext4Inode *owner, uint64_t block,
                       const uint8_t *data)
{
    struct ext3_extent_header header;
    Node node;

    if (!node_parse(data, volume->block_size, &node) || node.count == 0 || !in_order(&node)) {
        return false;
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

/* What the leaf @node tells of blocks [first, limit). */
static int leaf_piece(const Ext4Volume *volume, const Node *node, uint64_t first, uint64_t limit,
                      Ext4Piece *piece)
{
    uint64_t at = first;
    int result = ext4_piece_init(piece, node->count * 2 + 1);

    for (unsigned i = 0; result == 0 && i < node->count && at < limit; i++) {
        struct ext3_extent extent;
        uint64_t start, end, physical;
        Ext4RunKind kind;

        memcpy(&extent, node->entries + (size_t)i * sizeof(extent), sizeof(extent));
        kind = extent.ee_len > WRITTEN_MAX ? EXT4_RUN_UNWRITTEN : EXT4_RUN_DATA;
        start = extent.ee_block;
        if (start >= limit) {
            break;
        }
        end = start + extent.ee_len - (kind == EXT4_RUN_UNWRITTEN ? WRITTEN_MAX : 0);
        physical = extent.ee_start | (uint64_t)extent.ee_start_hi << 32;
        if (end == start || !ext4_has_blocks(volume, physical, end - start)) {
            kind = EXT4_RUN_DAMAGED;
            end = MAX(end, start + 1);
        }
        /* Two never overlap in a sound file. */
        end = MIN(end, i + 1 < node->count ? MIN(entry_start(node, i + 1), limit) : limit);
        if (end <= at) {
            continue;
        }
        if (start > at) {
            ext4_piece_append(piece, at, start - at, EXT4_RUN_HOLE, 0);
            at = start;
        }
        ext4_piece_append(piece, at, end - at, kind, physical + (at - start));
        at = end;
    }
    if (result == 0 && at < limit) {
        ext4_piece_append(piece, at, limit - at, EXT4_RUN_HOLE, 0);
    }
    return result;
}

static int look_at_extents(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical,
                           Ext4Piece *piece)
{
    g_autoptr(Ext4Buffer) buffer = NULL;
    uint64_t first = 0, limit = LOGICAL_END;
    Node node;

    if (logical >= LOGICAL_END) {
        return piece_hole(piece, LOGICAL_END, NOTHING_FURTHER);
    }
    if (!node_parse(ext4_inode_block(inode), INODE_BYTES, &node) || !in_order(&node)) {
        return ext4_damaged(volume, inode->ino, "the root of its extents is damaged");
    }
    while (node.depth > 0) {
        const int index = search(&node, logical);
        const unsigned depth = node.depth;
        struct ext3_extent_idx below;
        Ext4Buffer *child;
        int result;

        if (index + 1 < (int)node.count) {
            limit = MIN(limit, entry_start(&node, (unsigned)(index + 1)));
        }
        if (index < 0) {
            return piece_hole(piece, first, limit);
        }
        first = MAX(first, entry_start(&node, (unsigned)index));
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
    return leaf_piece(volume, &node, first, limit, piece);
}

/* --- blocks of pointers --- */

/* What the @count pointers at @pointers tell of the blocks from @first on. */
static int pointer_piece(const Ext4Volume *volume, const uint8_t *pointers, uint64_t first,
                         unsigned count, Ext4Piece *piece)
{
    int result = ext4_piece_init(piece, count);

    for (unsigned i = 0; result == 0 && i < count; i++) {
        uint32_t block;

        memcpy(&block, pointers + i * sizeof(block), sizeof(block));
        ext4_piece_append(piece, first + i, 1,
                          block == 0                          ? EXT4_RUN_HOLE
                          : ext4_has_blocks(volume, block, 1) ? EXT4_RUN_DATA
                                                              : EXT4_RUN_DAMAGED,
                          block);
    }
    return result;
}

static int look_at_pointers(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical,
                            Ext4Piece *piece)
{
    const uint8_t *roots = ext4_inode_block(inode);
    const unsigned bits = volume->block_bits - 2; /* of the pointers in a block */
    g_autoptr(Ext4Buffer) buffer = NULL;
    uint64_t first = EXT2_NDIR_BLOCKS;
    unsigned level = 1;
    uint32_t pointer;

    if (logical < EXT2_NDIR_BLOCKS) {
        return pointer_piece(volume, roots, 0, EXT2_NDIR_BLOCKS, piece);
    }
    while (level <= POINTER_LEVELS && (logical - first) >> (level * bits) != 0) {
        first += UINT64_C(1) << (level * bits);
        level++;
    }
    if (level > POINTER_LEVELS) {
        return piece_hole(piece, first, NOTHING_FURTHER);
    }
    memcpy(&pointer, roots + (EXT2_NDIR_BLOCKS + level - 1) * sizeof(pointer), sizeof(pointer));
    for (;; level--) {
        const unsigned shift = (level - 1) * bits; /* of the blocks below one pointer */
        Ext4Buffer *child;
        int result;

        if (pointer == 0) {
            return piece_hole(piece, first, first + (UINT64_C(1) << (shift + bits)));
        }
        result = ext4_buffer_get(volume, EXT4_BLOCK_POINTERS, inode, pointer, 1, NULL, &child);
        if (result < 0) {
            return result == -EUCLEAN
                       ? ext4_damaged(volume, inode->ino, "its blocks of pointers are damaged")
                       : result;
        }
        ext4_buffer_put(buffer);
        buffer = child;
        if (level == 1) {
            return pointer_piece(volume, buffer->data, first, 1u << bits, piece);
        }
        const uint64_t index = (logical - first) >> shift;
        memcpy(&pointer, buffer->data + index * sizeof(pointer), sizeof(pointer));
        first += index << shift;
    }
}

int ext4_map(Ext4Volume *volume, const Ext4Inode *inode, uint64_t logical, Ext4Run *run)
{
    Ext4KnownRun known;

    if (logical >= NOTHING_FURTHER) {
        *run = (Ext4Run){.length = UINT64_MAX - logical};
        return 0;
    }
    if (!ext4_runs_find(inode->runs, logical, &known)) {
        g_auto(Ext4Piece) piece = {0};
        int result = inode->flags & EXT4_EXTENTS_FL
                         ? look_at_extents(volume, inode, logical, &piece)
                         : look_at_pointers(volume, inode, logical, &piece);
        size_t bytes;

        if (result < 0) {
            return result;
        }
        if (!ext4_piece_find(&piece, logical, &known)) {
            g_assert_not_reached();
        }
        bytes = ext4_runs_add(inode->runs, &piece);
        if (bytes > 0) {
            ext4_inode_grown(volume, inode, bytes);
        }
    }
    if (known.kind == EXT4_RUN_DAMAGED) {
        return ext4_damaged(volume, inode->ino, "a block lies outside of the file system");
    }
    *run = (Ext4Run){
        .length = known.length,
        .physical = known.kind == EXT4_RUN_DATA ? known.physical : 0,
    };
    return 0;
}
