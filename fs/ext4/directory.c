/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names in directories: see directory.h.
 *
 * How it works: a directory is a file of blocks with entries that do not cross their ends. An
 * index (htree.c) lies in blocks that look like empty ones, so reading all blocks in order shows
 * every name with or without it. parse_entry() is the only one that looks at unchecked
 * bytes.
 *
 * Positions are offsets in the directory. Those of a directory inside of its inode count its two
 * parts as one, from FIRST_INLINE on; "." and ".." are not stored there.
 */
#include "fs/ext4/directory.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "fs/ext4/htree.h"
#include "fs/ext4/map.h"
#include "fs/ext4/turn.h"
#include "fs/ext4/volume.h"
#include "fs/ext4/xattr.h"

#define ENTRY_HEAD   8
#define ENTRY_LEAST  12
#define TAIL_BYTES   12
#define TAIL_TYPE    0xde
#define FIRST_INLINE 2 /* after "." and ".." */
#define PARENT_BYTES 4 /* before the entries of a directory inside of its inode */

typedef struct RawEntry {
    uint32_t ino;
    uint16_t record_length;
    uint8_t name_length, type;
} RawEntry;

static_assert(sizeof(RawEntry) == ENTRY_HEAD, "size on the disk");

/* The entry at @at of @size bytes; its length with what is unused behind it, 0: damaged. */
static size_t parse_entry(const uint8_t *data, size_t size, size_t at, RawEntry *entry)
{
    const size_t left = size - at;
    size_t length;

    if (left < ENTRY_LEAST) {
        return 0;
    }
    memcpy(entry, data + at, sizeof(*entry));
    length = entry->record_length;
    if (size >= 65536) {
        /* Two bits that are always zero otherwise are the upper ones. */
        length = length == 65535 || length == 0 ? 65536 : (length & 65532) | (length & 3) << 16;
    }
    if (length < ENTRY_LEAST || length % 4 != 0 || length > left ||
        ENTRY_HEAD + (size_t)entry->name_length > length) {
        return 0;
    }
    if (entry->ino != 0 && entry->name_length == 0) {
        return 0;
    }
    return length;
}

int ext4_directory_search(const Ext4Volume *volume, const uint8_t *data, size_t size,
                          const char *name, size_t length, uint32_t *ino)
{
    size_t step;

    for (size_t at = 0; at < size; at += step) {
        RawEntry entry;

        step = parse_entry(data, size, at, &entry);
        if (step == 0) {
            return -EUCLEAN;
        }
        if (entry.ino != 0 && entry.name_length == length &&
            memcmp(data + at + ENTRY_HEAD, name, length) == 0) {
            *ino = entry.ino;
            return 1;
        }
    }
    return 0;
}

/* --- blocks --- */

static bool check_block(const Ext4Volume *volume, const Ext4Inode *owner, uint64_t block,
                        const uint8_t *data)
{
    const size_t end = volume->block_size - TAIL_BYTES;
    uint32_t stored;
    RawEntry tail;

    if (!volume->checksums) {
        return true;
    }
    /* First: the end of a block that became an index may still look like the other kind's. */
    if (ext4_htree_is_index(volume, data)) {
        return ext4_htree_check(volume, owner, data);
    }
    memcpy(&tail, data + end, sizeof(tail));
    if (tail.ino != 0 || tail.record_length != TAIL_BYTES || tail.name_length != 0 ||
        tail.type != TAIL_TYPE) {
        return false;
    }
    memcpy(&stored, data + end + ENTRY_HEAD, sizeof(stored));
    return ext2fs_crc32c_le(owner->checksum_seed, data, end) == stored;
}

int ext4_directory_block(Ext4Volume *volume, const Ext4Inode *directory, uint64_t logical,
                         Ext4Buffer **buffer, uint64_t *hole)
{
    Ext4Run run;
    int result = ext4_map(volume, directory, logical, &run);

    *buffer = NULL;
    *hole = run.length;
    if (result < 0 || run.physical == 0) {
        return result;
    }
    result = ext4_buffer_get(volume, EXT4_BLOCK_DIRECTORY, directory, run.physical,
                             (unsigned)MIN(run.length, G_MAXUINT), check_block, buffer);
    return result == -EUCLEAN
               ? ext4_damaged(volume, directory->ino,
                              "block %" G_GUINT64_FORMAT " of the directory is damaged", logical)
               : result;
}

/* A bound for every walk over all of its blocks. */
static int check_size(Ext4Volume *volume, const Ext4Inode *directory)
{
    if (directory->size >> volume->block_bits > volume->blocks) {
        return ext4_damaged(volume, directory->ino, "the directory is longer than its disk");
    }
    return 0;
}

/* --- listing --- */

static int damaged_entry(Ext4Volume *volume, const Ext4Inode *directory, uint64_t position)
{
    return ext4_damaged(volume, directory->ino, "the directory is damaged at %" G_GUINT64_FORMAT,
                        position);
}

/* Copy what is shown. False: a name that nobody could use. */
static bool fill_entry(const Ext4Volume *volume, const RawEntry *raw, const uint8_t *name,
                       Ext4Entry *entry)
{
    static const uint8_t types[] = {DT_UNKNOWN, DT_REG,  DT_DIR,  DT_CHR,
                                    DT_BLK,     DT_FIFO, DT_SOCK, DT_LNK};
    const bool has_type = ext2fs_has_feature_filetype(volume->fs->super);

    entry->ino = raw->ino;
    entry->type = has_type && raw->type < G_N_ELEMENTS(types) ? types[raw->type] : DT_UNKNOWN;
    memcpy(entry->name, name, raw->name_length);
    entry->name[raw->name_length] = '\0';
    return memchr(name, '\0', raw->name_length) == NULL &&
           memchr(name, '/', raw->name_length) == NULL;
}

static void dot_entry(Ext4Entry *entry, const char *name, uint32_t ino, uint64_t next)
{
    *entry = (Ext4Entry){.ino = ino, .type = DT_DIR, .next = next};
    g_strlcpy(entry->name, name, sizeof(entry->name));
}

/* The next entry from byte @at on of @size bytes, the first of which has @base as its position. */
static int next_in_part(Ext4Volume *volume, const Ext4Inode *directory, const uint8_t *data,
                        size_t size, size_t at, uint64_t base, Ext4Cursor *cursor, Ext4Entry *entry)
{
    size_t step;

    for (; at < size; at += step) {
        RawEntry raw;

        step = parse_entry(data, size, at, &raw);
        if (step == 0) {
            cursor->position = base + size;
            return damaged_entry(volume, directory, base + at);
        }
        if (raw.ino == 0 || base + at < cursor->position) {
            continue;
        }
        cursor->inside = at + step;
        cursor->position = entry->next = base + at + step;
        if (!fill_entry(volume, &raw, data + at + ENTRY_HEAD, entry)) {
            damaged_entry(volume, directory, base + at);
            continue;
        }
        return 1;
    }
    return 0;
}

static int next_inline(Ext4Volume *volume, const Ext4Inode *directory, Ext4Cursor *cursor,
                       Ext4Entry *entry)
{
    const uint8_t *first, *more;
    size_t first_length, more_length;
    uint32_t parent;
    int result = ext4_inline_parts(volume, directory, &first, &first_length, &more, &more_length);

    if (result < 0) {
        return result;
    }
    if (cursor->position == 0) {
        cursor->position = 1;
        dot_entry(entry, ".", directory->ino, 1);
        return 1;
    }
    if (cursor->position == 1) {
        memcpy(&parent, first, sizeof(parent));
        cursor->position = FIRST_INLINE;
        dot_entry(entry, "..", parent, FIRST_INLINE);
        return 1;
    }
    first_length -= PARENT_BYTES;
    result = next_in_part(volume, directory, first + PARENT_BYTES, first_length, 0, FIRST_INLINE,
                          cursor, entry);
    if (result == 0) {
        result = next_in_part(volume, directory, more, more_length, 0, FIRST_INLINE + first_length,
                              cursor, entry);
    }
    return result;
}

int ext4_directory_next(Ext4Volume *volume, const Ext4Inode *directory, Ext4Cursor *cursor,
                        Ext4Entry *entry)
{
    int result;

    if (directory->flags & EXT4_INLINE_DATA_FL) {
        return next_inline(volume, directory, cursor, entry);
    }
    result = check_size(volume, directory);
    while (result == 0 && cursor->position < directory->size) {
        const uint64_t logical = cursor->position >> volume->block_bits;
        uint64_t hole;

        if (cursor->buffer == NULL || cursor->logical != logical) {
            ext4_cursor_clear(cursor);
            result = ext4_directory_block(volume, directory, logical, &cursor->buffer, &hole);
            cursor->logical = logical;
            cursor->inside = 0;
            if (result < 0) {
                cursor->position = (logical + 1) << volume->block_bits;
                return result;
            }
            if (cursor->buffer == NULL) {
                if (hole > directory->size >> volume->block_bits) {
                    return 0;
                }
                cursor->position = (logical + hole) << volume->block_bits;
                ext4_turn(&cursor->work, 1);
                continue;
            }
        }
        result = next_in_part(volume, directory, cursor->buffer->data, volume->block_size,
                              cursor->inside, logical << volume->block_bits, cursor, entry);
        if (result == 0) {
            cursor->position = (logical + 1) << volume->block_bits;
            ext4_turn(&cursor->work, volume->block_size >> 10);
        }
    }
    return result;
}

void ext4_cursor_clear(Ext4Cursor *cursor)
{
    ext4_buffer_put(cursor->buffer);
    cursor->buffer = NULL;
}

/* --- looking up --- */

static int find_inline(Ext4Volume *volume, const Ext4Inode *directory, const char *name,
                       uint32_t *ino)
{
    const size_t length = strlen(name);
    const uint8_t *first, *more;
    size_t first_length, more_length;
    int result = ext4_inline_parts(volume, directory, &first, &first_length, &more, &more_length);

    if (result < 0) {
        return result;
    }
    result = ext4_directory_search(volume, first + PARENT_BYTES, first_length - PARENT_BYTES, name,
                                   length, ino);
    if (result == 0) {
        result = ext4_directory_search(volume, more, more_length, name, length, ino);
    }
    return result < 0 ? damaged_entry(volume, directory, 0) : result;
}

static int find_linear(Ext4Volume *volume, const Ext4Inode *directory, const char *name,
                       uint32_t *ino)
{
    const uint64_t blocks = directory->size >> volume->block_bits;
    const size_t length = strlen(name);
    int result = check_size(volume, directory);
    unsigned work = 0;

    for (uint64_t logical = 0; result == 0 && logical < blocks;) {
        g_autoptr(Ext4Buffer) buffer = NULL;
        uint64_t hole;

        result = ext4_directory_block(volume, directory, logical, &buffer, &hole);
        if (result == 0 && buffer == NULL) {
            logical = hole > blocks ? blocks : logical + hole;
            ext4_turn(&work, 1);
        } else if (result == 0) {
            result =
                ext4_directory_search(volume, buffer->data, volume->block_size, name, length, ino);
            if (result < 0) {
                return damaged_entry(volume, directory, logical << volume->block_bits);
            }
            logical++;
            ext4_turn(&work, volume->block_size >> 10);
        }
    }
    return result;
}

int ext4_directory_find(Ext4Volume *volume, const Ext4Inode *directory, const char *name,
                        uint32_t *ino)
{
    int result = -EUCLEAN;

    if (ext4_names_find(volume->names, directory->ino, name, ino)) {
        return *ino == 0 ? -ENOENT : 0;
    }
    if (directory->flags & EXT4_INLINE_DATA_FL) {
        result = find_inline(volume, directory, name, ino);
    } else {
        if (directory->flags & EXT2_INDEX_FL && ext2fs_has_feature_dir_index(volume->fs->super)) {
            result = ext4_htree_find(volume, directory, name, ino);
        }
        if (result == -EUCLEAN) {
            result = find_linear(volume, directory, name, ino);
        }
    }
    if (result >= 0) {
        ext4_names_add(volume->names, directory->ino, name, result == 0 ? 0 : *ino);
    }
    return result == 0 ? -ENOENT : MIN(result, 0);
}
