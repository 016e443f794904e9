/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The blocks of a journal's log: see journal-log.h.
 *
 * How it works: what lies next to each other on the disk is read together and kept until a block
 * outside of it is asked for. Tags stay inside of their block; what they say is not trusted here.
 */
#include "fs/ext4/journal-log.h"

#include <errno.h>
#include <string.h>

#define WINDOW_BYTES (256 * 1024)
#define CRC32_TYPE   1 /* of checksums of version 1, 4 bytes long */
#define CRC32_SIZE   4
#define TAIL_BYTES   4

enum { TAG_ESCAPED = 1, TAG_SAME_UUID = 2, TAG_LAST = 8 };

void ext4_journal_init(Ext4Journal *journal, Ext4Volume *volume)
{
    *journal = (Ext4Journal){
        .volume = volume,
        .logged = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free),
        .window = g_malloc(MAX(WINDOW_BYTES, volume->block_size)),
    };
}

void ext4_journal_fini(Ext4Journal *journal)
{
    g_hash_table_unref(journal->logged);
    g_free(journal->window);
    ext4_inode_put(journal->inode);
}

int ext4_journal_fail(Ext4Journal *journal, const char *why)
{
    journal->why = why;
    return -EUCLEAN;
}

/* --- blocks --- */

int ext4_journal_place(Ext4Journal *journal, uint32_t index, Ext4Run *run)
{
    int result = ext4_map(journal->volume, journal->inode, index, run);

    if (result == 0 && run->physical == 0) {
        result = ext4_journal_fail(journal, "its journal has holes");
    }
    return result;
}

int ext4_journal_read(Ext4Journal *journal, uint32_t index, const uint8_t **data)
{
    const unsigned size = journal->volume->block_size;

    if (index < journal->window_start || index - journal->window_start >= journal->window_count) {
        Ext4Run run;
        int result = ext4_journal_place(journal, index, &run);

        if (result < 0) {
            return result;
        }
        journal->window_count = 0;
        run.length = MIN(run.length, WINDOW_BYTES / size);
        result = block_co_read(journal->volume->node, journal->window, run.length * size,
                               (int64_t)(run.physical * size));
        if (result < 0) {
            return result;
        }
        journal->window_start = index;
        journal->window_count = (uint32_t)run.length;
    }
    *data = journal->window + (size_t)(index - journal->window_start) * size;
    return 0;
}

uint32_t ext4_journal_next(const Ext4Journal *journal, uint32_t index)
{
    return index + 1 >= journal->end ? journal->first : index + 1;
}

/* --- tags --- */

static unsigned be16(const uint8_t *data)
{
    return (unsigned)data[0] << 8 | data[1];
}

static size_t tag_bytes(const Ext4Journal *journal)
{
    size_t bytes = 12;

    if (journal->features & EXT4_JOURNAL_CHECKSUM_V3) {
        return 16;
    }
    bytes += journal->features & EXT4_JOURNAL_CHECKSUM_V2 ? 2 : 0;
    return journal->features & EXT4_JOURNAL_64BIT ? bytes : bytes - 4;
}

size_t ext4_journal_used_bytes(const Ext4Journal *journal)
{
    return journal->volume->block_size - (ext4_journal_has_checksums(journal) ? TAIL_BYTES : 0);
}

bool ext4_journal_next_tag(const Ext4Journal *journal, const uint8_t *data, size_t *at,
                           Ext4JournalTag *tag)
{
    const size_t bytes = tag_bytes(journal);
    const size_t end = ext4_journal_used_bytes(journal);
    const uint8_t *from;
    uint32_t flags;

    if (*at > end || bytes > end - *at) {
        return false;
    }
    from = data + *at;
    tag->block = ext4_journal_number(from);
    if (journal->features & EXT4_JOURNAL_CHECKSUM_V3) {
        flags = ext4_journal_number(from + 4);
        tag->checksum = ext4_journal_number(from + 12);
    } else {
        flags = be16(from + 6);
        tag->checksum = be16(from + 4);
    }
    if (journal->features & EXT4_JOURNAL_64BIT) {
        tag->block |= (uint64_t)ext4_journal_number(from + 8) << 32;
    }
    tag->escaped = (flags & TAG_ESCAPED) != 0;
    *at += bytes + (flags & TAG_SAME_UUID ? 0 : EXT4_JOURNAL_UUID_BYTES);
    if (flags & TAG_LAST) {
        *at = SIZE_MAX;
    }
    return true;
}

/* --- checksums --- */

/* Of @data, a block whose bytes [@at, @at + 4) count as zeros. */
static uint32_t checksum_without(const Ext4Journal *journal, const uint8_t *data, size_t at)
{
    const size_t size = journal->volume->block_size;
    static const uint8_t zeros[sizeof(uint32_t)];
    uint32_t checksum = ext2fs_crc32c_le(journal->seed, data, at);

    checksum = ext2fs_crc32c_le(checksum, zeros, sizeof(zeros));
    at += sizeof(zeros);
    return ext2fs_crc32c_le(checksum, data + at, size - at);
}

bool ext4_journal_check_tail(const Ext4Journal *journal, const uint8_t *data)
{
    const size_t at = journal->volume->block_size - TAIL_BYTES;

    return !ext4_journal_has_checksums(journal) ||
           checksum_without(journal, data, at) == ext4_journal_number(data + at);
}

bool ext4_journal_check_logged(const Ext4Journal *journal, const Ext4JournalTag *tag,
                               uint32_t sequence, const uint8_t *data)
{
    const uint32_t stored = GUINT32_TO_BE(sequence);
    uint32_t checksum;

    if (!ext4_journal_has_checksums(journal)) {
        return true;
    }
    checksum = ext2fs_crc32c_le(journal->seed, (const uint8_t *)&stored, sizeof(stored));
    checksum = ext2fs_crc32c_le(checksum, data, journal->volume->block_size);
    /* Version 2 has room for half of it. */
    return checksum == tag->checksum || (!(journal->features & EXT4_JOURNAL_CHECKSUM_V3) &&
                                         (checksum & 0xffff) == tag->checksum);
}

bool ext4_journal_check_commit(const Ext4Journal *journal, const uint8_t *data, uint32_t crc)
{
    const size_t size = journal->volume->block_size;
    const size_t at = offsetof(Ext4JournalCommit, checksum);
    Ext4JournalCommit commit;
    uint32_t stored;

    memcpy(&commit, data, sizeof(commit));
    stored = GUINT32_FROM_BE(commit.checksum[0]);
    if (ext4_journal_has_checksums(journal)) {
        g_autofree uint8_t *first = NULL;

        if (checksum_without(journal, data, at) == stored) {
            return true;
        }
        /* Only the part of it that says something may have been written: the rest was zeros. */
        first = g_malloc0(size);
        memcpy(first, data, sizeof(commit));
        return checksum_without(journal, first, at) == stored;
    }
    if (journal->checksum_v1) {
        return (commit.checksum_type == CRC32_TYPE && commit.checksum_size == CRC32_SIZE &&
                stored == crc) ||
               (commit.checksum_type == 0 && commit.checksum_size == 0 && stored == 0);
    }
    return true;
}
