/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of a file system that was not unmounted cleanly: see journal.h.
 *
 * How it works: the first block of the journal's inode is a superblock that tells what the log
 * looks like and where it begins. What the log holds (journal-replay.c) becomes the overlay.
 */
#include "fs/ext4/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/ext4/journal-log.h"
#include "fs/ext4/journal-replay.h"

#define SUPER_BYTES   1024
#define FC_DEFAULT    256 /* blocks for fast commits, if the journal does not say */
#define CHECKSUM_TYPE 4   /* crc32c */
#define KNOWN                                                                                      \
    (EXT4_JOURNAL_HAS_REVOKE | EXT4_JOURNAL_64BIT | EXT4_JOURNAL_ASYNC_COMMIT |                    \
     EXT4_JOURNAL_CHECKSUM_V2 | EXT4_JOURNAL_CHECKSUM_V3 | EXT4_JOURNAL_FAST_COMMIT)

/* Big-endian. */
typedef struct DiskSuper {
    Ext4JournalHeader header;
    uint32_t block_size, length, first;
    uint32_t sequence, start, error;
    uint32_t compatible, incompatible, read_only_compatible;
    uint8_t uuid[EXT4_JOURNAL_UUID_BYTES];
    uint32_t users, dynamic, most_blocks, most_data;
    uint8_t checksum_type, padding[3];
    uint32_t fast_blocks, head;
    uint32_t unused[40];
    uint32_t checksum;
} DiskSuper;

static_assert(sizeof(DiskSuper) == 0x100 && offsetof(DiskSuper, checksum) == 0xfc,
              "places on the disk");

static int damaged(Ext4Journal *journal)
{
    return ext4_journal_fail(journal, "the superblock of its journal is damaged");
}

/* Its features and checksum; @bytes is changed. */
static int check_features(Ext4Journal *journal, const DiskSuper *super, uint8_t *bytes)
{
    if (GUINT32_FROM_BE(super->header.type) == EXT4_JOURNAL_SUPER_2) {
        journal->features = GUINT32_FROM_BE(super->incompatible);
        journal->checksum_v1 = (GUINT32_FROM_BE(super->compatible) & EXT4_JOURNAL_CHECKSUM_V1) != 0;
        if (journal->features & ~(uint32_t)KNOWN || super->read_only_compatible != 0) {
            return ext4_journal_fail(journal, "its journal has a feature that is not known here");
        }
    }
    if (!ext4_journal_has_checksums(journal)) {
        return 0;
    }
    if (journal->checksum_v1 || (journal->features & EXT4_JOURNAL_CHECKSUM_V2 &&
                                 journal->features & EXT4_JOURNAL_CHECKSUM_V3)) {
        return ext4_journal_fail(journal, "its journal has two kinds of checksums");
    }
    memset(bytes + offsetof(DiskSuper, checksum), 0, sizeof(super->checksum));
    if (super->checksum_type != CHECKSUM_TYPE ||
        ext2fs_crc32c_le(UINT32_MAX, bytes, SUPER_BYTES) != GUINT32_FROM_BE(super->checksum)) {
        return ext4_journal_fail(journal, "the superblock of its journal has a wrong checksum");
    }
    return 0;
}

static int read_super(Ext4Journal *journal)
{
    const Ext4Volume *volume = journal->volume;
    uint8_t bytes[SUPER_BYTES];
    const uint8_t *data;
    DiskSuper super;
    uint32_t length, type, fast = 0;
    int result = ext4_journal_read(journal, 0, &data);

    if (result < 0) {
        return result;
    }
    memcpy(bytes, data, sizeof(bytes));
    memcpy(&super, bytes, sizeof(super));
    type = GUINT32_FROM_BE(super.header.type);
    length = GUINT32_FROM_BE(super.length);
    if (GUINT32_FROM_BE(super.header.magic) != EXT4_JOURNAL_MAGIC ||
        (type != EXT4_JOURNAL_SUPER_1 && type != EXT4_JOURNAL_SUPER_2) ||
        GUINT32_FROM_BE(super.block_size) != volume->block_size || length == 0 ||
        length > journal->inode->size >> volume->block_bits || length > volume->blocks) {
        return damaged(journal);
    }
    result = check_features(journal, &super, bytes);
    if (result < 0) {
        return result;
    }
    journal->seed = ext2fs_crc32c_le(UINT32_MAX, super.uuid, sizeof(super.uuid));
    if (journal->features & EXT4_JOURNAL_FAST_COMMIT) {
        fast = super.fast_blocks == 0 ? FC_DEFAULT : GUINT32_FROM_BE(super.fast_blocks);
    }
    journal->first = GUINT32_FROM_BE(super.first);
    journal->start = GUINT32_FROM_BE(super.start);
    journal->sequence = GUINT32_FROM_BE(super.sequence);
    if (fast >= length) {
        return damaged(journal);
    }
    journal->end = length - fast;
    journal->fast_first = fast > 1 ? journal->end + 1 : 0; /* as the kernel counts */
    if (journal->first == 0 || journal->first >= journal->end ||
        (journal->start != 0 &&
         (journal->start < journal->first || journal->start >= journal->end))) {
        return damaged(journal);
    }
    return 0;
}

static int compare_blocks(const void *a, const void *b)
{
    const Ext4Logged *left = a, *right = b;

    return left->block < right->block ? -1 : left->block > right->block;
}

static Ext4Overlay *make_overlay(const Ext4Journal *journal)
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

static int load(Ext4Journal *journal, Ext4Overlay **overlay)
{
    const uint32_t number = journal->volume->fs->super->s_journal_inum;
    int result;

    if (number == 0) {
        ext4_journal_fail(journal, "its journal is on another device");
        return -EOPNOTSUPP;
    }
    result = ext4_inode_get_special(journal->volume, number, &journal->inode);
    if (result < 0 || !S_ISREG(journal->inode->attr.st_mode)) {
        return ext4_journal_fail(journal, "the inode of its journal is damaged");
    }
    result = read_super(journal);
    if (result == 0 && journal->start != 0) {
        result = ext4_journal_replay(journal);
    }
    if (result == 0) {
        *overlay = make_overlay(journal);
    }
    return result;
}

int ext4_journal_load(Ext4Volume *volume, Ext4Overlay **overlay, const char **why)
{
    Ext4Journal journal;
    int result;

    *overlay = NULL;
    ext4_journal_init(&journal, volume);
    result = load(&journal, overlay);
    *why = journal.why;
    ext4_journal_fini(&journal);
    return result;
}
