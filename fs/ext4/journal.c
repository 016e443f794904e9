/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of a file system that was not unmounted cleanly: see journal.h.
 *
 * How it works: the log is a ring of blocks [first, end) of the journal's inode. A transaction is
 * one or more descriptors, each a list of tags with the logged blocks behind it, blocks of
 * revocations, and a commit block; all carry its number. As the kernel's replay does it:
 *
 *   scan     from the oldest transaction to the first block that is not of the expected one: all
 *            whose commit is there count. A commit with a wrong checksum is the remains of an older
 *            lap if its time is before that of the last good one, else damage.
 *   revoke   note until which transaction copies of a block do not count
 *   replay   the newest copy of each block counts; its checksum is verified
 *
 * The log is not trusted: one lap bounds each pass, tags stay inside of their block, blocks inside
 * of the file system.
 */
#include "fs/ext4/journal.h"

#include <errno.h>
#include <string.h>

#include "fs/ext4/map.h"
#include "fs/ext4/volume.h"

#define MAGIC         0xc03b3998u
#define SUPER_BYTES   1024
#define WINDOW_BYTES  (256 * 1024)
#define FC_DEFAULT    256 /* blocks for fast commits, if the journal does not say */
#define FC_TAG_HEAD   9
#define CHECKSUM_TYPE 4 /* crc32c */
#define CRC32_TYPE    1 /* of the oldest kind of checksum, 4 bytes long */
#define CRC32_SIZE    4
#define UUID_BYTES    16
#define TAIL_BYTES    4

enum {
    BLOCK_DESCRIPTOR = 1,
    BLOCK_COMMIT = 2,
    BLOCK_SUPER_1 = 3,
    BLOCK_SUPER_2 = 4,
    BLOCK_REVOKE = 5
};

enum { /* compatible feature */ CHECKSUM_V1 = 1 };

enum { /* incompatible features */
       REVOKE = 1 << 0,
       WIDE = 1 << 1, /* 64 bits */
       ASYNC_COMMIT = 1 << 2,
       CHECKSUM_V2 = 1 << 3,
       CHECKSUM_V3 = 1 << 4,
       FAST_COMMIT = 1 << 5,
       KNOWN = REVOKE | WIDE | ASYNC_COMMIT | CHECKSUM_V2 | CHECKSUM_V3 | FAST_COMMIT,
};

enum { TAG_ESCAPED = 1, TAG_SAME_UUID = 2, TAG_LAST = 8 };

/* All big-endian. */
typedef struct DiskHeader {
    uint32_t magic, type, sequence;
} DiskHeader;

typedef struct DiskSuper {
    DiskHeader header;
    uint32_t block_size, length, first;
    uint32_t sequence, start, error;
    uint32_t compatible, incompatible, read_only_compatible;
    uint8_t uuid[UUID_BYTES];
    uint32_t users, dynamic, most_blocks, most_data;
    uint8_t checksum_type, padding[3];
    uint32_t fast_blocks, head;
    uint32_t unused[40];
    uint32_t checksum;
} DiskSuper;

typedef struct DiskCommit {
    DiskHeader header;
    uint8_t checksum_type, checksum_size, padding[2];
    uint32_t checksum[8];
    uint64_t seconds;
} DiskCommit;

static_assert(sizeof(DiskSuper) == 0x100 && offsetof(DiskSuper, checksum) == 0xfc &&
                  offsetof(DiskCommit, seconds) == 0x30,
              "places on the disk");

typedef struct Tag {
    uint64_t block;
    uint32_t checksum;
    bool escaped;
} Tag;

typedef struct Journal {
    Ext4Volume *volume;
    Ext4Inode *inode;
    uint32_t first, end, start, sequence;
    uint32_t fast_first; /* block of fast commits; 0: there are none */
    uint32_t features;
    bool checksum_v1;
    uint32_t seed;
    uint32_t behind;     /* the number after the last transaction that counts */
    GHashTable *revoked; /* of uint64_t: block -> guint: the last transaction that is void */
    GHashTable *logged;  /* of uint64_t: block -> Ext4Logged */
    const char *why;
    /* blocks of the log in memory */
    uint8_t *window;
    uint32_t window_start, window_count;
} Journal;

static int fail(Journal *journal, const char *why)
{
    journal->why = why;
    return -EUCLEAN;
}

static uint32_t be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static unsigned be16(const uint8_t *data)
{
    return (unsigned)data[0] << 8 | data[1];
}

static bool has_block_checksums(const Journal *journal)
{
    return (journal->features & (CHECKSUM_V2 | CHECKSUM_V3)) != 0;
}

/* --- blocks of the log --- */

/* Where block @index of the journal's file is, and how many from there on lie behind it. */
static int place_of(Journal *journal, uint32_t index, Ext4Run *run)
{
    int result = ext4_map(journal->volume, journal->inode, index, run);

    if (result == 0 && run->physical == 0) {
        result = fail(journal, "its journal has holes");
    }
    return result;
}

/* Block @index in *@data, which is valid until the next call. */
static int log_block(Journal *journal, uint32_t index, const uint8_t **data)
{
    const unsigned size = journal->volume->block_size;

    if (index < journal->window_start || index - journal->window_start >= journal->window_count) {
        Ext4Run run;
        int result = place_of(journal, index, &run);

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

static uint32_t next_index(const Journal *journal, uint32_t index)
{
    return index + 1 >= journal->end ? journal->first : index + 1;
}

/* Whether the last bytes of a descriptor or revocation are its checksum, if it has one. */
static bool tail_is_right(const Journal *journal, const uint8_t *data)
{
    const size_t size = journal->volume->block_size - TAIL_BYTES;
    static const uint8_t zeros[TAIL_BYTES];
    uint32_t checksum;

    if (!has_block_checksums(journal)) {
        return true;
    }
    checksum = ext2fs_crc32c_le(journal->seed, data, size);
    checksum = ext2fs_crc32c_le(checksum, zeros, TAIL_BYTES);
    return checksum == be32(data + size);
}

/* --- tags --- */

static size_t tag_bytes(const Journal *journal)
{
    size_t bytes = 12;

    if (journal->features & CHECKSUM_V3) {
        return 16;
    }
    bytes += journal->features & CHECKSUM_V2 ? 2 : 0;
    return journal->features & WIDE ? bytes : bytes - 4;
}

/* The tag at *@at of the descriptor @data, which moves behind it. False: that was the last. */
static bool next_tag(const Journal *journal, const uint8_t *data, size_t *at, Tag *tag)
{
    const size_t bytes = tag_bytes(journal);
    const size_t end =
        journal->volume->block_size - (has_block_checksums(journal) ? TAIL_BYTES : 0);
    const uint8_t *from;
    uint32_t flags;

    if (*at > end || bytes > end - *at) {
        return false;
    }
    from = data + *at;
    tag->block = be32(from);
    if (journal->features & CHECKSUM_V3) {
        flags = be32(from + 4);
        tag->checksum = be32(from + 12);
    } else {
        flags = be16(from + 6);
        tag->checksum = be16(from + 4);
    }
    if (journal->features & WIDE) {
        tag->block |= (uint64_t)be32(from + 8) << 32;
    }
    tag->escaped = (flags & TAG_ESCAPED) != 0;
    *at += bytes + (flags & TAG_SAME_UUID ? 0 : UUID_BYTES);
    if (flags & TAG_LAST) {
        *at = SIZE_MAX;
    }
    return true;
}

/* --- the three passes --- */

typedef enum Pass { PASS_SCAN, PASS_REVOKE, PASS_REPLAY } Pass;

/* Where a pass is, and what a scan has seen. */
typedef struct Walk {
    Pass pass;
    uint32_t index;    /* the next block */
    uint32_t sequence; /* the transaction that it should be of */
    uint32_t left;     /* blocks until the lap is over */
    uint32_t crc;      /* of the transaction, for the oldest kind of checksum */
    uint64_t last_time;
    bool doubtful; /* a block before the commit had a wrong checksum */
    bool over;
} Walk;

static int advance(Journal *journal, Walk *walk, const uint8_t **data)
{
    if (walk->left == 0) {
        return fail(journal, "its journal goes round in circles");
    }
    walk->left--;
    int result = log_block(journal, walk->index, data);
    walk->index = next_index(journal, walk->index);
    return result;
}

static int replay_block(Journal *journal, const Walk *walk, const Tag *tag, uint32_t index,
                        const uint8_t *data)
{
    const unsigned size = journal->volume->block_size;
    gpointer until;
    Ext4Run run;
    int result;

    if (!ext4_has_blocks(journal->volume, tag->block, 1) &&
        tag->block != journal->volume->first_block) {
        return fail(journal, "its journal holds a block that is outside of the file system");
    }
    if (has_block_checksums(journal)) {
        const uint32_t sequence = GUINT32_TO_BE(walk->sequence);
        uint32_t checksum =
            ext2fs_crc32c_le(journal->seed, (const uint8_t *)&sequence, sizeof(sequence));

        checksum = ext2fs_crc32c_le(checksum, data, size);
        if (checksum != tag->checksum &&
            (journal->features & CHECKSUM_V3 || (checksum & 0xffff) != tag->checksum)) {
            return fail(journal, "its journal holds a block with a wrong checksum");
        }
    }
    if (g_hash_table_lookup_extended(journal->revoked, &tag->block, NULL, &until) &&
        (int32_t)(walk->sequence - GPOINTER_TO_UINT(until)) <= 0) {
        return 0;
    }
    result = place_of(journal, index, &run);
    if (result == 0) {
        Ext4Logged *logged = g_new(Ext4Logged, 1);

        *logged = (Ext4Logged){tag->block, run.physical, tag->escaped};
        g_hash_table_replace(journal->logged, &logged->block, logged);
    }
    return result;
}

static int on_descriptor(Journal *journal, Walk *walk, const uint8_t *data)
{
    const unsigned size = journal->volume->block_size;
    g_autofree uint8_t *descriptor = g_memdup2(data, size);
    size_t at = sizeof(DiskHeader);
    Tag tag;

    if (!tail_is_right(journal, descriptor)) {
        if (walk->pass != PASS_SCAN) {
            return fail(journal, "a descriptor of its journal has a wrong checksum");
        }
        walk->doubtful = true;
    }
    walk->crc = ext2fs_crc32_be(walk->crc, descriptor, size);
    while (next_tag(journal, descriptor, &at, &tag)) {
        const uint32_t index = walk->index;
        const bool wanted =
            walk->pass == PASS_REPLAY || (walk->pass == PASS_SCAN && journal->checksum_v1);
        int result = 0;

        if (wanted) {
            result = advance(journal, walk, &data);
        } else if (walk->left == 0) {
            result = fail(journal, "its journal goes round in circles");
        } else {
            walk->left--;
            walk->index = next_index(journal, index);
        }
        if (result == 0 && walk->pass == PASS_SCAN && journal->checksum_v1) {
            walk->crc = ext2fs_crc32_be(walk->crc, data, size);
        }
        if (result == 0 && walk->pass == PASS_REPLAY) {
            result = replay_block(journal, walk, &tag, index, data);
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int on_revoke(Journal *journal, Walk *walk, const uint8_t *data)
{
    const size_t each = journal->features & WIDE ? 8 : 4;
    const size_t most =
        journal->volume->block_size - (has_block_checksums(journal) ? TAIL_BYTES : 0);
    size_t end;

    if (walk->pass == PASS_REPLAY) {
        return 0;
    }
    if (!tail_is_right(journal, data)) {
        if (walk->pass != PASS_SCAN) {
            return fail(journal, "a revocation of its journal has a wrong checksum");
        }
        walk->doubtful = true;
    }
    if (walk->pass == PASS_SCAN) {
        return 0;
    }
    end = be32(data + sizeof(DiskHeader));
    if (end > most) {
        return fail(journal, "a revocation of its journal is too long");
    }
    for (size_t at = sizeof(DiskHeader) + 4; at + each <= end; at += each) {
        uint64_t block = be32(data + at);

        if (each == 8) {
            block = block << 32 | be32(data + at + 4);
        }
        /* Transactions come in order: the last one is the latest. */
        g_hash_table_replace(journal->revoked, g_memdup2(&block, sizeof(block)),
                             GUINT_TO_POINTER(walk->sequence));
    }
    return 0;
}

static bool commit_is_right(const Journal *journal, const Walk *walk, const uint8_t *data)
{
    const size_t size = journal->volume->block_size;
    const size_t at = offsetof(DiskCommit, checksum);
    static const uint8_t zeros[sizeof(uint32_t)];
    DiskCommit commit;
    uint32_t stored, checksum;

    memcpy(&commit, data, sizeof(commit));
    stored = GUINT32_FROM_BE(commit.checksum[0]);
    if (has_block_checksums(journal)) {
        checksum = ext2fs_crc32c_le(journal->seed, data, at);
        checksum = ext2fs_crc32c_le(checksum, zeros, sizeof(zeros));
        checksum = ext2fs_crc32c_le(checksum, data + at + sizeof(zeros), size - at - sizeof(zeros));
        return checksum == stored;
    }
    if (journal->checksum_v1) {
        return (commit.checksum_type == CRC32_TYPE && commit.checksum_size == CRC32_SIZE &&
                stored == walk->crc) ||
               (commit.checksum_type == 0 && commit.checksum_size == 0 && stored == 0);
    }
    return true;
}

static int on_commit(Journal *journal, Walk *walk, const uint8_t *data)
{
    DiskCommit commit;
    uint64_t time;

    if (walk->pass == PASS_SCAN) {
        memcpy(&commit, data, sizeof(commit));
        time = GUINT64_FROM_BE(commit.seconds);
        if (walk->doubtful || !commit_is_right(journal, walk, data)) {
            if (time >= walk->last_time) {
                return fail(journal, "a transaction of its journal has a wrong checksum");
            }
            walk->over = true; /* what is left of an earlier lap */
            return 0;
        }
        walk->last_time = time;
        walk->crc = UINT32_MAX;
    }
    walk->sequence++;
    return 0;
}

static int run_pass(Journal *journal, Pass pass)
{
    Walk walk = {
        .pass = pass,
        .index = journal->start,
        .sequence = journal->sequence,
        .left = journal->end - journal->first,
        .crc = UINT32_MAX,
    };
    int result = 0;

    while (result == 0 && !walk.over) {
        const uint8_t *data;

        if ((pass != PASS_SCAN && walk.sequence == journal->behind) || walk.left == 0) {
            break;
        }
        result = advance(journal, &walk, &data);
        if (result < 0) {
            break;
        }
        if (be32(data) != MAGIC || be32(data + 8) != walk.sequence) {
            break;
        }
        switch (be32(data + 4)) {
        case BLOCK_DESCRIPTOR:
            result = on_descriptor(journal, &walk, data);
            break;
        case BLOCK_COMMIT:
            result = on_commit(journal, &walk, data);
            break;
        case BLOCK_REVOKE:
            result = on_revoke(journal, &walk, data);
            break;
        default:
            walk.over = true;
            break;
        }
    }
    if (pass == PASS_SCAN) {
        journal->behind = walk.sequence;
    } else if (result == 0 && walk.sequence != journal->behind) {
        return fail(journal, "its journal changes while it is read");
    }
    return result;
}

/* --- the beginning --- */

static int read_super(Journal *journal)
{
    const Ext4Volume *volume = journal->volume;
    uint8_t bytes[SUPER_BYTES];
    const uint8_t *data;
    DiskSuper super;
    uint32_t length, type, fast = 0;
    int result = log_block(journal, 0, &data);

    if (result < 0) {
        return result;
    }
    memcpy(bytes, data, sizeof(bytes));
    memcpy(&super, bytes, sizeof(super));
    type = GUINT32_FROM_BE(super.header.type);
    length = GUINT32_FROM_BE(super.length);
    if (GUINT32_FROM_BE(super.header.magic) != MAGIC ||
        (type != BLOCK_SUPER_1 && type != BLOCK_SUPER_2) ||
        GUINT32_FROM_BE(super.block_size) != volume->block_size || length == 0 ||
        length > journal->inode->size >> volume->block_bits) {
        return fail(journal, "the superblock of its journal is damaged");
    }
    if (type == BLOCK_SUPER_2) {
        journal->features = GUINT32_FROM_BE(super.incompatible);
        journal->checksum_v1 = (GUINT32_FROM_BE(super.compatible) & CHECKSUM_V1) != 0;
    }
    if (journal->features & ~(uint32_t)KNOWN) {
        return fail(journal, "its journal has a feature that is not known here");
    }
    if (has_block_checksums(journal)) {
        memset(bytes + offsetof(DiskSuper, checksum), 0, sizeof(super.checksum));
        if (super.checksum_type != CHECKSUM_TYPE ||
            ext2fs_crc32c_le(UINT32_MAX, bytes, sizeof(bytes)) != GUINT32_FROM_BE(super.checksum)) {
            return fail(journal, "the superblock of its journal has a wrong checksum");
        }
        journal->checksum_v1 = false;
    }
    journal->seed = ext2fs_crc32c_le(UINT32_MAX, super.uuid, sizeof(super.uuid));
    if (journal->features & FAST_COMMIT) {
        fast = super.fast_blocks == 0 ? FC_DEFAULT : GUINT32_FROM_BE(super.fast_blocks);
    }
    journal->first = GUINT32_FROM_BE(super.first);
    journal->start = GUINT32_FROM_BE(super.start);
    journal->sequence = GUINT32_FROM_BE(super.sequence);
    if (fast >= length) {
        return fail(journal, "the superblock of its journal is damaged");
    }
    journal->end = length - fast;
    journal->fast_first = fast > 1 ? journal->end + 1 : 0; /* as the kernel counts */
    if (journal->first == 0 || journal->first >= journal->end ||
        (journal->start != 0 &&
         (journal->start < journal->first || journal->start >= journal->end))) {
        return fail(journal, "the superblock of its journal is damaged");
    }
    return 0;
}

/* Fast commits follow the last transaction; they are not followed here. */
static int check_fast_commits(Journal *journal)
{
    const uint8_t *data;
    uint16_t tag;
    uint32_t number;
    int result;

    if (journal->fast_first == 0) {
        return 0;
    }
    result = log_block(journal, journal->fast_first, &data);
    if (result < 0) {
        return result;
    }
    memcpy(&tag, data, sizeof(tag));
    memcpy(&number, data + 8, sizeof(number)); /* little-endian, unlike the rest */
    return tag == FC_TAG_HEAD && number == journal->behind
               ? fail(journal, "its journal holds fast commits")
               : 0;
}

static int compare_blocks(const void *a, const void *b)
{
    const Ext4Logged *left = a, *right = b;

    return left->block < right->block ? -1 : left->block > right->block;
}

static Ext4Overlay *make_overlay(const Journal *journal)
{
    const guint count = g_hash_table_size(journal->logged);
    Ext4Overlay *overlay;
    GHashTableIter iter;
    gpointer logged;

    if (count == 0) {
        return NULL;
    }
    overlay = g_new0(Ext4Overlay, 1);
    overlay->block_size = journal->volume->block_size;
    overlay->blocks = g_new(Ext4Logged, count);
    g_hash_table_iter_init(&iter, journal->logged);
    while (g_hash_table_iter_next(&iter, NULL, &logged)) {
        overlay->blocks[overlay->count++] = *(const Ext4Logged *)logged;
    }
    qsort(overlay->blocks, overlay->count, sizeof(*overlay->blocks), compare_blocks);
    return overlay;
}

static int load(Journal *journal)
{
    int result = read_super(journal);

    if (result == 0 && journal->start == 0) {
        journal->behind = journal->sequence;
        return check_fast_commits(journal);
    }
    for (Pass pass = PASS_SCAN; result == 0 && pass <= PASS_REPLAY; pass++) {
        result = run_pass(journal, pass);
        if (result == 0 && pass == PASS_SCAN) {
            result = check_fast_commits(journal);
        }
    }
    return result;
}

int ext4_journal_load(Ext4Volume *volume, Ext4Overlay **overlay, const char **why)
{
    Journal journal = {.volume = volume};
    int result;

    *overlay = NULL;
    *why = NULL;
    if (volume->fs->super->s_journal_inum == 0) {
        *why = "its journal is on another device";
        return -EOPNOTSUPP;
    }
    result = ext4_inode_get_special(volume, volume->fs->super->s_journal_inum, &journal.inode);
    if (result < 0 || !S_ISREG(journal.inode->attr.st_mode)) {
        ext4_inode_put(journal.inode);
        *why = "the inode of its journal is damaged";
        return result < 0 ? result : -EUCLEAN;
    }
    journal.window = g_malloc(MAX(WINDOW_BYTES, volume->block_size));
    journal.revoked = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    journal.logged = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    result = load(&journal);
    if (result == 0) {
        *overlay = make_overlay(&journal);
    }
    *why = journal.why;
    g_hash_table_unref(journal.logged);
    g_hash_table_unref(journal.revoked);
    g_free(journal.window);
    ext4_inode_put(journal.inode);
    return result;
}
