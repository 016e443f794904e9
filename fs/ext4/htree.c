/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index of a large directory: see htree.h.
 *
 * How it works: block 0 is the root: entries for "." and "..", of which the second takes the
 * rest of the block, and in that the head of the index and its entries, each a hash and the block
 * with the names from that hash on. Below it are up to two more levels. Names with equal hashes
 * may go on in the next block; then the lowest bit of its hash is set.
 */
#include "fs/ext4/htree.h"

#include <errno.h>
#include <string.h>

#include "fs/ext4/directory.h"
#include "fs/ext4/volume.h"

#define ROOT_INFO   24
#define NODE_START  8
#define LEVELS_MAX  3 /* below the root */
#define BLOCK_MASK  0x0fffffffu
#define UNSIGNED_BY 3    /* from a kind of hash to its form for unsigned characters */
#define LEAVES_MAX  1024 /* for one name: that many blocks of names with the same hash */
#define HASH_END    0xfffffffeu

typedef struct ext2_dx_entry DxEntry;
typedef struct ext2_dx_countlimit DxCount;

static_assert(sizeof(DxEntry) == 8 && sizeof(DxCount) == 4 && sizeof(struct ext2_dx_tail) == 8,
              "sizes on the disk");

/* One block of the index on the way down. */
typedef struct Level {
    Ext4Buffer *buffer;
    size_t entries; /* where they begin */
    unsigned count, index;
} Level;

typedef struct Walk {
    Level levels[LEVELS_MAX + 1];
    unsigned depth;  /* levels in use */
    uint64_t leaves; /* looked at */
} Walk;

static void walk_clear(Walk *walk)
{
    while (walk->depth > 0) {
        ext4_buffer_put(walk->levels[--walk->depth].buffer);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Walk, walk_clear)

static unsigned read16(const uint8_t *data)
{
    uint16_t value;

    memcpy(&value, data, sizeof(value));
    return value;
}

static DxEntry entry_at(const Level *level, unsigned index)
{
    DxEntry entry;

    memcpy(&entry, level->buffer->data + level->entries + index * sizeof(entry), sizeof(entry));
    return entry;
}

/* Where the count and the entries of the index block @data begin; 0: it is none. */
static size_t entries_of(const Ext4Volume *volume, const uint8_t *data)
{
    const size_t size = volume->block_size;
    const unsigned whole = size == 65536 ? 65535 : (unsigned)size;
    const unsigned first = read16(data + 4), second = read16(data + 16);

    if (first == whole || (size == 65536 && first == 0)) {
        return NODE_START;
    }
    if (first == 12 && second == (size == 65536 ? 65524 : size - 12)) {
        struct ext2_dx_root_info info;

        memcpy(&info, data + ROOT_INFO, sizeof(info));
        return info.reserved_zero == 0 && info.info_length == 8 ? ROOT_INFO + 8 : 0;
    }
    return 0;
}

/* How many entries there are; 0: the block is damaged. */
static unsigned count_of(const Ext4Volume *volume, const uint8_t *data, size_t entries)
{
    const size_t room = (volume->block_size - entries) / sizeof(DxEntry);
    DxCount count;

    memcpy(&count, data + entries, sizeof(count));
    return count.count <= count.limit && count.limit <= room ? count.count : 0;
}

bool ext4_htree_is_index(const Ext4Volume *volume, const uint8_t *data)
{
    return entries_of(volume, data) != 0;
}

bool ext4_htree_check(const Ext4Volume *volume, const Ext4Inode *directory, const uint8_t *data)
{
    const size_t entries = entries_of(volume, data);
    const unsigned count = entries == 0 ? 0 : count_of(volume, data, entries);
    struct ext2_dx_tail tail;
    DxCount limit;
    uint32_t checksum;
    size_t at;

    if (count == 0) {
        return false;
    }
    memcpy(&limit, data + entries, sizeof(limit));
    at = entries + limit.limit * sizeof(DxEntry);
    if (at + sizeof(tail) > volume->block_size) {
        return false;
    }
    memcpy(&tail, data + at, sizeof(tail));
    const uint32_t stored = tail.dt_checksum;
    tail.dt_checksum = 0;
    checksum = ext2fs_crc32c_le(directory->checksum_seed, data, entries + count * sizeof(DxEntry));
    checksum = ext2fs_crc32c_le(checksum, (unsigned char *)&tail, sizeof(tail));
    return checksum == stored;
}

/* Take block @logical as the next level. */
static int push(Ext4Volume *volume, const Ext4Inode *directory, uint64_t logical, Walk *walk)
{
    Level *level = &walk->levels[walk->depth];
    uint64_t hole;
    int result = ext4_directory_block(volume, directory, logical, &level->buffer, &hole);

    if (result < 0 || level->buffer == NULL) {
        return result < 0 ? result : -EUCLEAN;
    }
    walk->depth++;
    level->entries = entries_of(volume, level->buffer->data);
    level->index = 0;
    if (level->entries != (logical == 0 ? ROOT_INFO + 8 : NODE_START)) {
        return -EUCLEAN;
    }
    level->count = count_of(volume, level->buffer->data, level->entries);
    return level->count == 0 ? -EUCLEAN : 0;
}

/* The last entry whose hash is not above @hash; the first has none. */
static void choose(Level *level, uint32_t hash)
{
    unsigned low = 1, high = level->count;

    while (low < high) {
        const unsigned middle = low + (high - low) / 2;

        if (entry_at(level, middle).hash <= hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    level->index = low - 1;
}

/* The hash of @name as the root says, and how many levels are below the root. */
static int start(const Ext4Volume *volume, const Walk *walk, const char *name, uint32_t *hash,
                 unsigned *below)
{
    struct ext2_super_block *super = volume->fs->super;
    const unsigned most = ext2fs_has_feature_largedir(super) ? LEVELS_MAX : LEVELS_MAX - 1;
    struct ext2_dx_root_info info;
    ext2_dirhash_t minor;
    int version;

    memcpy(&info, walk->levels[0].buffer->data + ROOT_INFO, sizeof(info));
    if (info.hash_version > EXT2_HASH_TEA || info.indirect_levels >= most) {
        return -EUCLEAN;
    }
    *below = info.indirect_levels;
    version = info.hash_version + (super->s_flags & EXT2_FLAGS_UNSIGNED_HASH ? UNSIGNED_BY : 0);
    if (ext2fs_dirhash(version, name, (int)strlen(name), super->s_hash_seed, hash, &minor) != 0) {
        return -EUCLEAN;
    }
    *hash &= ~1u;
    *hash -= *hash == HASH_END ? 2 : 0;
    return 0;
}

/* Go to the next leaf if names with @hash may be there, too. 1, 0: no, or negative errno. */
static int next_leaf(Ext4Volume *volume, const Ext4Inode *directory, uint32_t hash, Walk *walk)
{
    const unsigned depth = walk->depth;
    Level *level;
    int result = 0;

    while (walk->depth > 0 &&
           walk->levels[walk->depth - 1].index + 1 >= walk->levels[walk->depth - 1].count) {
        ext4_buffer_put(walk->levels[--walk->depth].buffer);
    }
    if (walk->depth == 0) {
        return 0;
    }
    level = &walk->levels[walk->depth - 1];
    level->index++;
    if ((entry_at(level, level->index).hash & ~1u) != hash) {
        return 0;
    }
    while (result == 0 && walk->depth < depth) {
        level = &walk->levels[walk->depth - 1];
        result = push(volume, directory, entry_at(level, level->index).block & BLOCK_MASK, walk);
    }
    return result < 0 ? result : 1;
}

static int find_in_leaf(Ext4Volume *volume, const Ext4Inode *directory, const Walk *walk,
                        const char *name, uint32_t *ino)
{
    const Level *level = &walk->levels[walk->depth - 1];
    g_autoptr(Ext4Buffer) leaf = NULL;
    uint64_t hole;
    int result = ext4_directory_block(
        volume, directory, entry_at(level, level->index).block & BLOCK_MASK, &leaf, &hole);

    if (result < 0 || leaf == NULL) {
        return result < 0 ? result : -EUCLEAN;
    }
    return ext4_directory_search(volume, leaf->data, volume->block_size, name, strlen(name), ino);
}

int ext4_htree_find(Ext4Volume *volume, const Ext4Inode *directory, const char *name, uint32_t *ino)
{
    const uint64_t leaves_most = MIN(directory->size >> volume->block_bits, LEAVES_MAX);
    g_auto(Walk) walk = {.depth = 0};
    unsigned below = 0;
    uint32_t hash;
    int result = push(volume, directory, 0, &walk);

    if (result == 0) {
        result = start(volume, &walk, name, &hash, &below);
    }
    if (result < 0) {
        return result;
    }
    choose(&walk.levels[0], hash);
    while (result == 0 && below-- > 0) {
        const Level *level = &walk.levels[walk.depth - 1];

        result = push(volume, directory, entry_at(level, level->index).block & BLOCK_MASK, &walk);
        if (result == 0) {
            choose(&walk.levels[walk.depth - 1], hash);
        }
    }
    while (result == 0) {
        if (walk.leaves++ > leaves_most) {
            return -EUCLEAN; /* a damaged index may lead to the same block again and again */
        }
        result = find_in_leaf(volume, directory, &walk, name, ino);
        if (result != 0) {
            break;
        }
        result = next_leaf(volume, directory, hash, &walk);
        if (result == 0) {
            return 0;
        }
        result = MIN(result, 0);
    }
    return result;
}
