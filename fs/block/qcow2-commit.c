/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order in which changes reach the file: see qcow2-writer.h. */
#include <errno.h>

#include "fs/block/qcow2-writer.h"

void block_qcow2_touch(Qcow2Writer *writer, Qcow2Table *table, uint64_t index)
{
    if (table->first == table->end) {
        table->first = index;
        table->end = index + 1;
        block_qcow2_pin_again(table);
        g_ptr_array_add(writer->dirty_tables, table);
    } else {
        table->first = MIN(table->first, index);
        table->end = MAX(table->end, index + 1);
    }
    atomic_store(&writer->dirty, true);
}

/* After that there are no more blocks in memory than may be: those that the file has can go. */
static int write_blocks(Qcow2Writer *writer)
{
    const BlockQcow2 *qcow2 = writer->qcow2;

    for (guint i = 0; i < writer->loaded->len; i++) {
        const uint64_t index = g_array_index(writer->loaded, uint64_t, i);
        int result;

        if (!writer->block_dirty[index]) {
            continue;
        }
        result = block_co_write(qcow2->file, writer->blocks[index], qcow2_cluster_size(qcow2),
                                (int64_t)writer->table[index], 0);
        if (result < 0) {
            return result;
        }
        writer->block_dirty[index] = false;
    }
    block_qcow2_keep_blocks(writer, block_qcow2_blocks_limit(qcow2));
    return 0;
}

/* Write @count numbers as the file has them. */
static int write_numbers(BlockNode *file, const uint64_t *numbers, uint64_t flag, uint64_t count,
                         uint64_t offset)
{
    g_autofree uint64_t *bytes = g_try_new(uint64_t, count);

    if (bytes == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < count; i++) {
        bytes[i] = numbers[i] == 0 ? 0 : GUINT64_TO_BE(numbers[i] | flag);
    }
    return block_co_write(file, bytes, count * sizeof(uint64_t), (int64_t)offset, 0);
}

static int write_refcount_table(Qcow2Writer *writer)
{
    const uint64_t first = writer->table_first, count = writer->table_end - first;
    int result;

    if (count == 0) {
        return 0;
    }
    /* The table must not lead to a block that is not there yet. */
    result = writer->block_added ? block_co_flush(writer->qcow2->file) : 0;
    if (result == 0) {
        result = write_numbers(writer->qcow2->file, writer->table + first, 0, count,
                               writer->table_offset + first * sizeof(uint64_t));
    }
    if (result == 0) {
        writer->table_first = writer->table_end = 0;
        writer->block_added = false;
    }
    return result;
}

int block_qcow2_clear_features(Qcow2Writer *writer)
{
    static const uint64_t none = 0;
    BlockQcow2 *qcow2 = writer->qcow2;
    int result;

    if (!atomic_load(&qcow2->clears_features)) {
        return 0;
    }
    result = block_co_write(qcow2->file, &none, sizeof(none), QCOW2_AT_AUTOCLEAR, 0);
    if (result == 0) {
        result = block_co_flush(qcow2->file);
    }
    if (result == 0) {
        atomic_store(&qcow2->clears_features, false);
    }
    return result;
}

/* Tell the header where the refcount table is now. */
static int write_header(Qcow2Writer *writer)
{
    struct {
        uint64_t offset;
        uint32_t clusters;
    } __attribute__((packed)) place = {
        .offset = GUINT64_TO_BE(writer->table_offset),
        .clusters = GUINT32_TO_BE((uint32_t)(writer->table_entries * sizeof(uint64_t) >>
                                             writer->qcow2->header.cluster_bits)),
    };
    BlockNode *file = writer->qcow2->file;
    int result = 0;

    if (writer->table_moved) {
        result = block_co_write(file, &place, sizeof(place), QCOW2_AT_REFCOUNT_TABLE, 0);
        if (result == 0) {
            result = block_co_flush(file);
        }
        writer->table_moved = result < 0;
    }
    return result;
}

static int write_tables(Qcow2Writer *writer)
{
    while (writer->dirty_tables->len > 0) {
        Qcow2Table *table = g_ptr_array_index(writer->dirty_tables, writer->dirty_tables->len - 1);
        int result = block_co_write(writer->qcow2->file, (void *)&table->entries[table->first],
                                    (table->end - table->first) * sizeof(uint64_t),
                                    (int64_t)(table->offset + table->first * sizeof(uint64_t)), 0);

        if (result < 0) {
            return result;
        }
        table->first = table->end = 0;
        block_qcow2_unpin(table);
        g_ptr_array_set_size(writer->dirty_tables, (gint)writer->dirty_tables->len - 1);
    }
    return 0;
}

static int write_l1(Qcow2Writer *writer)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t first = writer->l1_first, count = writer->l1_end - first;
    int result;

    if (count == 0) {
        return 0;
    }
    result = block_co_flush(qcow2->file);
    if (result == 0) {
        result = write_numbers(qcow2->file, (const uint64_t *)qcow2->l1 + first, QCOW2_COPIED,
                               count, qcow2->header.l1_offset + first * sizeof(uint64_t));
    }
    if (result == 0) {
        writer->l1_first = writer->l1_end = 0;
    }
    return result;
}

static gint compare_clusters(gconstpointer a, gconstpointer b)
{
    const uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return one < other ? -1 : one > other;
}

/*
 * What is not needed any more is so durably: the next commit writes that it is free. Block by
 * block, and those that have no room in memory are written at once: nothing in the file leads to
 * these clusters, and nobody takes them, so it does not matter when the file knows.
 */
static int release_unneeded(Qcow2Writer *writer)
{
    g_array_sort(writer->unneeded, compare_clusters);
    while (writer->unneeded->len > 0) {
        uint64_t cluster = g_array_index(writer->unneeded, uint64_t, writer->unneeded->len - 1);
        int result;

        g_array_set_size(writer->unneeded, writer->unneeded->len - 1);
        result = block_qcow2_decrement(writer, cluster);
        if (result == 0 && writer->loaded->len > block_qcow2_blocks_limit(writer->qcow2)) {
            result = write_blocks(writer);
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

int block_qcow2_commit(Qcow2Writer *writer)
{
    BlockNode *file = writer->qcow2->file;
    int result;

    if (writer->failed) {
        return -EIO;
    }
    if (!atomic_load(&writer->dirty)) {
        return block_co_flush(file);
    }
    result = write_blocks(writer);
    if (result == 0) {
        result = write_refcount_table(writer);
    }
    if (result == 0) {
        result = block_co_flush(file);
    }
    if (result == 0) {
        result = write_header(writer);
    }
    if (result == 0) {
        result = write_tables(writer);
    }
    if (result == 0) {
        result = write_l1(writer);
    }
    if (result == 0) {
        result = block_co_flush(file);
    }
    if (result == 0) {
        atomic_store(&writer->dirty, false);
        result = release_unneeded(writer); /* makes it dirty again if there is something */
    }
    if (result < 0) {
        /* A store tells of a lost write once. A second try would succeed without what was lost. */
        writer->failed = true;
        atomic_store(&writer->dirty, true);
    }
    return result;
}

/* Write the whole L1 table to @offset, and tell the header. */
static int move_l1(Qcow2Writer *writer, uint64_t entries, uint64_t offset)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    struct {
        uint32_t entries;
        uint64_t offset;
    } __attribute__((packed)) place = {
        .entries = GUINT32_TO_BE((uint32_t)entries),
        .offset = GUINT64_TO_BE(offset),
    };
    int result =
        write_numbers(qcow2->file, (const uint64_t *)qcow2->l1, QCOW2_COPIED, entries, offset);

    if (result == 0) {
        result = block_co_flush(qcow2->file);
    }
    if (result == 0) {
        result = block_co_write(qcow2->file, &place, sizeof(place), QCOW2_AT_L1, 0);
    }
    if (result == 0) {
        result = block_co_flush(qcow2->file);
    }
    return result;
}

int block_qcow2_grow_tables(Qcow2Writer *writer, uint64_t size)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    Qcow2Header *header = &qcow2->header;
    const unsigned bits = header->cluster_bits, table_bits = bits + qcow2->l2_bits;
    const uint64_t needed =
        (size >> table_bits) + ((size & ((UINT64_C(1) << table_bits) - 1)) != 0);
    const uint64_t old_clusters = qcow2_clusters_of(qcow2, header->l1_entries * sizeof(uint64_t));
    uint64_t entries, offset;
    int result;

    if (needed <= header->l1_entries) {
        return 0;
    }
    if (needed > QCOW2_L1_ENTRIES_MAX) {
        return -EFBIG;
    }
    /* Some room, so that a disk that grows often does not move its table each time. */
    entries = MIN(MAX(needed, header->l1_entries + header->l1_entries / 2), QCOW2_L1_ENTRIES_MAX);
    result =
        block_qcow2_allocate(writer, qcow2_clusters_of(qcow2, entries * sizeof(uint64_t)), &offset);
    if (result == 0) {
        result = block_qcow2_commit(writer); /* the refcounts first */
    }
    if (result == 0) {
        result = move_l1(writer, entries, offset);
        writer->failed = result < 0; /* which of the two tables is used, nobody knows */
    }
    for (uint64_t i = 0; i < old_clusters && result == 0; i++) {
        block_qcow2_release(writer, header->l1_offset + (i << bits));
    }
    if (result == 0) {
        header->l1_entries = (uint32_t)entries;
        header->l1_offset = offset;
    }
    return result;
}

int block_qcow2_write_size(Qcow2Writer *writer, uint64_t size)
{
    const uint64_t bytes = GUINT64_TO_BE(size);
    BlockNode *file = writer->qcow2->file;
    int result = block_qcow2_commit(writer);

    if (result == 0) {
        result = block_co_write(file, &bytes, sizeof(bytes), QCOW2_AT_SIZE, 0);
    }
    return result == 0 ? block_co_flush(file) : result;
}
