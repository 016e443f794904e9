/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which blocks of a journal's log count: see journal-replay.h.
 *
 * How it works: a transaction is one or more descriptors, each a list of tags with the logged
 * blocks behind it, blocks of revocations, and a commit block; all carry its number. As the
 * kernel's replay does it:
 *
 *   scan     from the oldest transaction to the first block that is not of the expected one: all
 *            whose commit is there count.
 *   revoke   note until which transaction copies of a block do not count
 *   replay   the newest copy of each block counts; its checksum is verified, unless it is revoked
 *
 * What the scan makes of a wrong checksum:
 *
 *   the time of the commit is before that of the last good one: what is left of an earlier lap,
 *   the log ends before it. Otherwise,
 *   of a descriptor or revocation: damage, the mount fails
 *   of the commit itself: damage, too; but with asynchronous commits, which are written together
 *   with their blocks, the crash may have come between: the log ends before it. (With checksums
 *   of version 1 only if no other commit follows.)
 *
 * The log is not trusted: one lap bounds each pass, and blocks stay inside of the image.
 */
#include "fs/ext4/journal-replay.h"

#include <errno.h>
#include <string.h>

#define FC_TAG_HEAD 9

typedef enum Pass { PASS_SCAN, PASS_REVOKE, PASS_REPLAY } Pass;

/* What the passes know from each other. */
typedef struct Replay {
    Ext4Journal *journal;
    GHashTable *revoked; /* of uint64_t: block -> guint: the last transaction that is void */
    uint32_t behind;     /* the number after the last transaction that counts */
} Replay;

/* Where a pass is, and what a scan has seen. */
typedef struct Walk {
    Pass pass;
    uint32_t index;    /* the next block */
    uint32_t sequence; /* the transaction that it should be of */
    uint32_t left;     /* blocks until the lap is over */
    uint32_t crc;      /* of the transaction, for checksums of version 1 */
    uint64_t last_time;
    bool doubtful; /* a block before the commit had a wrong checksum */
    bool cut;      /* the log ends at replay->behind, before what is scanned now */
    bool over;
} Walk;

static int fail(const Replay *replay, const char *why)
{
    return ext4_journal_fail(replay->journal, why);
}

static int step(const Replay *replay, Walk *walk)
{
    if (walk->left == 0) {
        return fail(replay, "its journal goes round in circles");
    }
    walk->left--;
    walk->index = ext4_journal_next(replay->journal, walk->index);
    return 0;
}

static int advance(const Replay *replay, Walk *walk, const uint8_t **data)
{
    const uint32_t index = walk->index;
    int result = step(replay, walk);

    return result < 0 ? result : ext4_journal_read(replay->journal, index, data);
}

static uint64_t image_blocks(const Ext4Volume *volume)
{
    return (uint64_t)block_node_size(volume->node) >> volume->block_bits;
}

static int replay_block(const Replay *replay, const Walk *walk, const Ext4JournalTag *tag,
                        uint32_t index, const uint8_t *data)
{
    Ext4Journal *journal = replay->journal;
    gpointer until;
    Ext4Run run;
    int result;

    if (g_hash_table_lookup_extended(replay->revoked, &tag->block, NULL, &until) &&
        (int32_t)(walk->sequence - GPOINTER_TO_UINT(until)) <= 0) {
        return 0;
    }
    if (!ext4_journal_check_logged(journal, tag, walk->sequence, data)) {
        return fail(replay, "its journal holds a block with a wrong checksum");
    }
    /* Within the image: the file system may have grown, and its new size be in the log as well. */
    if (tag->block >= image_blocks(journal->volume)) {
        return fail(replay, "its journal holds a block that is outside of the image");
    }
    result = ext4_journal_place(journal, index, &run);
    if (result == 0) {
        Ext4Logged *logged = g_new(Ext4Logged, 1);

        *logged = (Ext4Logged){tag->block, run.physical, tag->escaped};
        g_hash_table_replace(journal->logged, &logged->block, logged);
    }
    return result;
}

static int on_descriptor(const Replay *replay, Walk *walk, const uint8_t *data)
{
    Ext4Journal *journal = replay->journal;
    const unsigned size = journal->volume->block_size;
    const bool summed = walk->pass == PASS_SCAN && journal->checksum_v1 && !walk->cut;
    g_autofree uint8_t *descriptor = g_memdup2(data, size);
    size_t at = sizeof(Ext4JournalHeader);
    Ext4JournalTag tag;

    if (!ext4_journal_check_tail(journal, descriptor)) {
        if (walk->pass != PASS_SCAN) {
            return fail(replay, "a descriptor of its journal has a wrong checksum");
        }
        walk->doubtful = true;
    }
    if (summed) {
        walk->crc = ext2fs_crc32_be(walk->crc, descriptor, size);
    }
    while (ext4_journal_next_tag(journal, descriptor, &at, &tag)) {
        const uint32_t index = walk->index;
        int result =
            summed || walk->pass == PASS_REPLAY ? advance(replay, walk, &data) : step(replay, walk);

        if (result == 0 && summed) {
            walk->crc = ext2fs_crc32_be(walk->crc, data, size);
        }
        if (result == 0 && walk->pass == PASS_REPLAY) {
            result = replay_block(replay, walk, &tag, index, data);
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int on_revoke(const Replay *replay, Walk *walk, const uint8_t *data)
{
    const size_t each = replay->journal->features & EXT4_JOURNAL_64BIT ? 8 : 4;
    size_t end;

    if (walk->pass == PASS_REPLAY) {
        return 0;
    }
    if (!ext4_journal_check_tail(replay->journal, data)) {
        if (walk->pass != PASS_SCAN) {
            return fail(replay, "a revocation of its journal has a wrong checksum");
        }
        walk->doubtful = true;
    }
    if (walk->pass == PASS_SCAN) {
        return 0;
    }
    end = ext4_journal_number(data + sizeof(Ext4JournalHeader));
    if (end > ext4_journal_used_bytes(replay->journal)) {
        return fail(replay, "a revocation of its journal is too long");
    }
    for (size_t at = sizeof(Ext4JournalHeader) + sizeof(uint32_t); at + each <= end; at += each) {
        uint64_t block = ext4_journal_number(data + at);

        if (each == 8) {
            block = block << 32 | ext4_journal_number(data + at + 4);
        }
        /* Transactions come in order: the last one is the latest. */
        g_hash_table_replace(replay->revoked, g_memdup2(&block, sizeof(block)),
                             GUINT_TO_POINTER(walk->sequence));
    }
    return 0;
}

static int scan_commit(Replay *replay, Walk *walk, const uint8_t *data)
{
    const Ext4Journal *journal = replay->journal;
    static const char wrong[] = "a transaction of its journal has a wrong checksum";
    Ext4JournalCommit commit;
    uint64_t time;

    memcpy(&commit, data, sizeof(commit));
    time = GUINT64_FROM_BE(commit.seconds);
    if (journal->checksum_v1 && walk->cut) {
        return fail(replay, wrong);
    }
    if (walk->doubtful || !ext4_journal_check_commit(journal, data, walk->crc)) {
        if (time < walk->last_time) {
            walk->over = true; /* what is left of an earlier lap */
            return 0;
        }
        if (walk->doubtful || !(journal->features & EXT4_JOURNAL_ASYNC_COMMIT)) {
            return fail(replay, wrong);
        }
        replay->behind = walk->sequence;
        walk->cut = true;
    }
    walk->last_time = time;
    walk->crc = UINT32_MAX;
    walk->sequence++;
    return 0;
}

static int on_block(Replay *replay, Walk *walk, const uint8_t *data)
{
    switch (ext4_journal_number(data + offsetof(Ext4JournalHeader, type))) {
    case EXT4_JOURNAL_DESCRIPTOR:
        return on_descriptor(replay, walk, data);
    case EXT4_JOURNAL_COMMIT:
        if (walk->pass == PASS_SCAN) {
            return scan_commit(replay, walk, data);
        }
        walk->sequence++;
        return 0;
    case EXT4_JOURNAL_REVOKE:
        return on_revoke(replay, walk, data);
    default:
        walk->over = true;
        return 0;
    }
}

static int run_pass(Replay *replay, Pass pass)
{
    const Ext4Journal *journal = replay->journal;
    Walk walk = {
        .pass = pass,
        .index = journal->start,
        .sequence = journal->sequence,
        .left = journal->end - journal->first,
        .crc = UINT32_MAX,
    };
    int result = 0;

    while (result == 0 && !walk.over && walk.left > 0) {
        const uint8_t *data;

        if (pass != PASS_SCAN && walk.sequence == replay->behind) {
            break;
        }
        result = advance(replay, &walk, &data);
        if (result < 0 ||
            ext4_journal_number(data + offsetof(Ext4JournalHeader, magic)) != EXT4_JOURNAL_MAGIC ||
            ext4_journal_number(data + offsetof(Ext4JournalHeader, sequence)) != walk.sequence) {
            break;
        }
        result = on_block(replay, &walk, data);
    }
    if (pass == PASS_SCAN && !walk.cut) {
        replay->behind = walk.sequence;
    } else if (pass != PASS_SCAN && result == 0 && walk.sequence != replay->behind) {
        return fail(replay, "its journal changes while it is read");
    }
    return result;
}

/* Fast commits follow the last transaction; they are not followed here. */
static int check_fast_commits(const Replay *replay)
{
    Ext4Journal *journal = replay->journal;
    const uint8_t *data;
    uint16_t tag;
    uint32_t number;
    int result;

    if (journal->fast_first == 0) {
        return 0;
    }
    result = ext4_journal_read(journal, journal->fast_first, &data);
    if (result < 0) {
        return result;
    }
    memcpy(&tag, data, sizeof(tag));
    memcpy(&number, data + 8, sizeof(number)); /* little-endian, unlike the rest */
    return tag == FC_TAG_HEAD && number == replay->behind
               ? fail(replay, "its journal holds fast commits")
               : 0;
}

int ext4_journal_replay(Ext4Journal *journal)
{
    Replay replay = {
        .journal = journal,
        .revoked = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL),
    };
    int result = run_pass(&replay, PASS_SCAN);

    if (result == 0) {
        result = check_fast_commits(&replay);
    }
    if (result == 0) {
        result = run_pass(&replay, PASS_REVOKE);
    }
    if (result == 0) {
        result = run_pass(&replay, PASS_REPLAY);
    }
    g_hash_table_unref(replay.revoked);
    return result;
}
