/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The log of a journal: its blocks, read one after the other, and what is in them. For the other
 * parts of the journal (journal.c, journal-replay.c); in a coroutine.
 */
#ifndef SLUICE_FS_EXT4_JOURNAL_LOG_H
#define SLUICE_FS_EXT4_JOURNAL_LOG_H

#include <assert.h>
#include <string.h>

#include "fs/ext4/map.h"
#include "fs/ext4/volume.h"

#define EXT4_JOURNAL_MAGIC      0xc03b3998u
#define EXT4_JOURNAL_UUID_BYTES 16

typedef enum Ext4JournalBlock {
    EXT4_JOURNAL_DESCRIPTOR = 1,
    EXT4_JOURNAL_COMMIT = 2,
    EXT4_JOURNAL_SUPER_1 = 3,
    EXT4_JOURNAL_SUPER_2 = 4,
    EXT4_JOURNAL_REVOKE = 5,
} Ext4JournalBlock;

enum { /* compatible feature */ EXT4_JOURNAL_CHECKSUM_V1 = 1 };

enum { /* incompatible features */
       EXT4_JOURNAL_HAS_REVOKE = 1 << 0,
       EXT4_JOURNAL_64BIT = 1 << 1,
       EXT4_JOURNAL_ASYNC_COMMIT = 1 << 2,
       EXT4_JOURNAL_CHECKSUM_V2 = 1 << 3,
       EXT4_JOURNAL_CHECKSUM_V3 = 1 << 4,
       EXT4_JOURNAL_FAST_COMMIT = 1 << 5,
};

/** What every block of the journal's own begins with; big-endian, as all of it. */
typedef struct Ext4JournalHeader {
    uint32_t magic, type, sequence;
} Ext4JournalHeader;

typedef struct Ext4JournalCommit {
    Ext4JournalHeader header;
    uint8_t checksum_type, checksum_size, padding[2];
    uint32_t checksum[8];
    uint64_t seconds;
    uint32_t nanoseconds, unused;
} Ext4JournalCommit;

static_assert(offsetof(Ext4JournalCommit, seconds) == 0x30 && sizeof(Ext4JournalCommit) == 0x40,
              "places on the disk");

/** A logged block as its descriptor tells of it. */
typedef struct Ext4JournalTag {
    uint64_t block; /**< where it belongs */
    uint32_t checksum;
    bool escaped;
} Ext4JournalTag;

typedef struct Ext4Journal {
    Ext4Volume *volume;
    Ext4Inode *inode;
    /* As its superblock has it: the log is a ring of blocks [first, end) of the inode. */
    uint32_t first, end, start, sequence;
    uint32_t fast_first; /* block of fast commits; 0: there are none */
    uint32_t features;
    bool checksum_v1;
    uint32_t seed;
    /* What a replay finds. */
    GHashTable *logged; /* of uint64_t: block -> Ext4Logged */
    const char *why;    /* it failed; NULL: for no reason of its own */
    /* Blocks of the log in memory. */
    uint8_t *window;
    uint32_t window_start, window_count;
} Ext4Journal;

/** What to fill; and to give back. */
void ext4_journal_init(Ext4Journal *journal, Ext4Volume *volume);
void ext4_journal_fini(Ext4Journal *journal);

/** -EUCLEAN, for the reason @why. */
int ext4_journal_fail(Ext4Journal *journal, const char *why);

static inline uint32_t ext4_journal_number(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return GUINT32_FROM_BE(value);
}

/** Whether the checksums are those of version 2 or 3. */
static inline bool ext4_journal_has_checksums(const Ext4Journal *journal)
{
    return (journal->features & (EXT4_JOURNAL_CHECKSUM_V2 | EXT4_JOURNAL_CHECKSUM_V3)) != 0;
}

/** How many bytes of a descriptor or revocation can be used: its checksum is behind them. */
size_t ext4_journal_used_bytes(const Ext4Journal *journal);

/** Where block @index of the journal is, and how many from there on lie behind it. */
int ext4_journal_place(Ext4Journal *journal, uint32_t index, Ext4Run *run);

/** Block @index of the journal in *@data, which is valid until the next call. */
int ext4_journal_read(Ext4Journal *journal, uint32_t index, const uint8_t **data);

/** The block of the log behind block @index. */
uint32_t ext4_journal_next(const Ext4Journal *journal, uint32_t index);

/** The tag at *@at of the descriptor @data, which moves behind it. False: that was the last. */
bool ext4_journal_next_tag(const Ext4Journal *journal, const uint8_t *data, size_t *at,
                           Ext4JournalTag *tag);

/** Whether a descriptor or revocation has the checksum that it should have, if any. */
bool ext4_journal_check_tail(const Ext4Journal *journal, const uint8_t *data);

/** The same of the logged block @data of transaction @sequence. */
bool ext4_journal_check_logged(const Ext4Journal *journal, const Ext4JournalTag *tag,
                               uint32_t sequence, const uint8_t *data);

/** The same of a commit; @crc: of its transaction, for checksums of version 1. */
bool ext4_journal_check_commit(const Ext4Journal *journal, const uint8_t *data, uint32_t crc);

#endif /* SLUICE_FS_EXT4_JOURNAL_LOG_H */
