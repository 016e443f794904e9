/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The refcounts of an image whose last writer kept them in memory and did not end well: it has
 * left the dirty bit. QEMU does so with lazy refcounts.
 *
 * How it works: the tables tell which clusters are used, each by one entry, but for those that
 * compressed clusters share. All are counted and checked first (two bytes for each cluster of the
 * file; one table in memory at a time), and nothing is changed if anything is not as it must be.
 * New blocks of refcounts and a new table are then written behind everything that is used, the old
 * ones and what they claim being left alone, and
 *
 *     blocks, table | header: where the table is | header: not dirty | unused clusters
 *                   ^ flush                      ^ flush             ^ flush
 *
 * so that wherever this stops the image is dirty still, or in order. There are no snapshots, so
 * every entry may say that its cluster is its own (COPIED); those that do not are
 * put right before the header.
 */
#include <errno.h>
#include <string.h>

#include <gio/gio.h>

#include "fs/block/qcow2-writer.h"
#include "fs/block/raw.h"

#define OWN             UINT16_MAX /* used by one entry; fewer: so many compressed clusters */
#define COUNT_BYTES_MAX (UINT64_C(256) * 1024 * 1024)
#define BITMAPS         UINT64_C(1) /* of the features that are cleared by who does not know them */

typedef struct Repair {
    BlockQcow2 *qcow2;
    uint64_t clusters; /* of the file */
    uint16_t *uses;    /* of each */
    uint64_t end;      /* behind the last one that is used */
    uint64_t *l1;      /* as in the file, but host order */
    bool marks;        /* this time, put COPIED right */
    uint64_t wrong;    /* entries with COPIED wrong */
    const char *why;   /* it cannot be done */
} Repair;

static bool fail(Repair *repair, const char *why)
{
    repair->why = why;
    return false;
}

static bool change_now(BlockNode *file, BlockOp op, void *buffer, uint64_t length, uint64_t offset)
{
    BlockRequest request;

    block_request_init(&request, op, buffer, length, (int64_t)offset);
    return block_run_now(file, &request) == 0;
}

static bool write_now(Repair *repair, void *buffer, uint64_t length, uint64_t offset)
{
    return change_now(repair->qcow2->file, BLOCK_WRITE, buffer, length, offset) ||
           fail(repair, "the file cannot be written to");
}

static bool flush_now(Repair *repair)
{
    return block_flush_now(repair->qcow2->file) == 0 ||
           fail(repair, "the file cannot be written to");
}

/* --- counting --- */

/* An entry uses these bytes of the file, its clusters alone or, compressed, with others. */
static bool use(Repair *repair, uint64_t offset, uint64_t length, bool shared)
{
    const unsigned bits = repair->qcow2->header.cluster_bits;
    const uint64_t first = offset >> bits;
    uint64_t last;

    if (length == 0) {
        return true;
    }
    if (__builtin_add_overflow(offset, length - 1, &last) || last >> bits >= repair->clusters) {
        return fail(repair, "an entry leads behind the end of the file");
    }
    last >>= bits;
    for (uint64_t i = first; i <= last; i++) {
        if (repair->uses[i] >= (shared ? OWN - 1 : 1)) {
            return fail(repair, "two entries lead to the same cluster");
        }
        repair->uses[i] = shared ? repair->uses[i] + 1 : OWN;
    }
    repair->end = MAX(repair->end, last + 1);
    return true;
}

/* Count what @entry uses, the first time; *@right: as it must be. */
static bool look_at(Repair *repair, uint64_t entry, uint64_t *right)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const uint64_t size = qcow2_cluster_size(qcow2);
    uint64_t offset = entry & QCOW2_OFFSET, length = size;
    const bool compressed = (entry & QCOW2_COMPRESSED) != 0;

    *right = entry;
    if (compressed) {
        *right &= ~QCOW2_COPIED;
        if (!block_qcow2_compressed_place(qcow2, entry, &offset, &length)) {
            return fail(repair, "an entry leads behind the end of the file");
        }
    } else if (offset == 0) {
        return true;
    } else if (offset & (size - 1)) {
        return fail(repair, "an entry leads into the middle of a cluster");
    } else {
        *right |= QCOW2_COPIED;
    }
    repair->wrong += *right != entry;
    return repair->marks || use(repair, offset, length, compressed);
}

/* Go through the table at @offset. */
static bool scan_table(Repair *repair, uint64_t offset, uint64_t *table)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const uint64_t entries = UINT64_C(1) << qcow2->l2_bits, before = repair->wrong;
    const size_t bytes = entries * sizeof(uint64_t);

    if (block_read_now(qcow2->file, table, bytes, (int64_t)offset) < 0) {
        return fail(repair, "an L2 table cannot be read");
    }
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t right;

        if (table[i] != 0) {
            if (!look_at(repair, GUINT64_FROM_BE(table[i]), &right)) {
                return false;
            }
            table[i] = GUINT64_TO_BE(right);
        }
    }
    return !repair->marks || repair->wrong == before || write_now(repair, table, bytes, offset);
}

static bool scan_tables(Repair *repair)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const uint32_t entries = qcow2->header.l1_entries;
    const size_t l1_bytes = entries * sizeof(uint64_t);
    g_autofree uint64_t *table = g_try_malloc(qcow2_cluster_size(qcow2));
    bool l1_wrong = false;

    if (table == NULL) {
        return fail(repair, "not enough memory");
    }
    repair->wrong = 0;
    for (uint32_t i = 0; i < entries; i++) {
        const uint64_t before = repair->l1[i];
        uint64_t right = before;

        if ((before & QCOW2_OFFSET) != 0 && (!look_at(repair, before & ~QCOW2_COMPRESSED, &right) ||
                                             !scan_table(repair, before & QCOW2_OFFSET, table))) {
            return false;
        }
        l1_wrong |= right != before;
        repair->l1[i] = repair->marks ? GUINT64_TO_BE(right) : before;
    }
    return !repair->marks || !l1_wrong ||
           write_now(repair, repair->l1, l1_bytes, qcow2->header.l1_offset);
}

static bool count_uses(Repair *repair)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const size_t bytes = qcow2->header.l1_entries * sizeof(uint64_t);

    repair->clusters = qcow2_clusters_of(qcow2, (uint64_t)qcow2->file->size);
    if (repair->clusters > COUNT_BYTES_MAX / sizeof(uint16_t)) {
        return fail(repair, "it has too many clusters");
    }
    repair->uses = g_try_new0(uint16_t, repair->clusters);
    repair->l1 = g_try_malloc(MAX(bytes, 1));
    if (repair->uses == NULL || repair->l1 == NULL) {
        return fail(repair, "not enough memory");
    }
    if (block_read_now(qcow2->file, repair->l1, bytes, (int64_t)qcow2->header.l1_offset) < 0) {
        return fail(repair, "its L1 table cannot be read");
    }
    for (uint32_t i = 0; i < qcow2->header.l1_entries; i++) {
        repair->l1[i] = GUINT64_FROM_BE(repair->l1[i]);
    }
    return use(repair, 0, 1, false) && use(repair, qcow2->header.l1_offset, bytes, false) &&
           scan_tables(repair);
}

/* --- writing --- */

/* Behind what is used, and behind the old refcounts as far as there are any. */
static uint64_t find_room(const Repair *repair)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    const uint64_t bytes = (uint64_t)qcow2->header.refcount_table_clusters << bits;
    const uint64_t offset = qcow2->header.refcount_table_offset;
    g_autofree uint64_t *table = g_try_malloc(MAX(bytes, 1));
    uint64_t room = repair->end;

    if (table == NULL || block_read_now(qcow2->file, table, bytes, (int64_t)offset) < 0) {
        return room;
    }
    room = MAX(room, (offset + bytes) >> bits);
    for (uint64_t i = 0; i < bytes / sizeof(uint64_t); i++) {
        const uint64_t cluster = (GUINT64_FROM_BE(table[i]) & QCOW2_OFFSET) >> bits;

        if (cluster < repair->clusters) {
            room = MAX(room, cluster + 1);
        }
    }
    return room;
}

/* The refcount of a cluster; those from @room on are the refcounts' own. */
static uint64_t refcount_of(const Repair *repair, uint64_t cluster, uint64_t room, uint64_t end)
{
    if (cluster >= room) {
        return cluster < end;
    }
    return repair->uses[cluster] == OWN ? 1 : repair->uses[cluster];
}

/* Write the refcounts of @end clusters: a table at @room and the blocks behind it. */
static bool write_refcounts(Repair *repair, uint64_t room, uint64_t table_clusters, uint64_t blocks,
                            uint64_t end)
{
    const BlockQcow2 *qcow2 = repair->qcow2;
    const unsigned bits = qcow2->header.cluster_bits, order = qcow2->header.refcount_order;
    const uint64_t size = qcow2_cluster_size(qcow2), per_block = size * 8 >> order;
    const uint64_t most = order >= 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
    g_autofree uint8_t *block = g_try_malloc(size);
    g_autofree uint64_t *table = g_try_malloc0(table_clusters << bits);

    if (block == NULL || table == NULL) {
        return fail(repair, "not enough memory");
    }
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t place = (room + table_clusters + i) << bits;

        memset(block, 0, size);
        for (uint64_t j = 0; j < per_block && i * per_block + j < end; j++) {
            const uint64_t count = refcount_of(repair, i * per_block + j, room, end);

            if (count > most) {
                return fail(repair, "its refcounts have too few bits");
            }
            block_qcow2_store_refcount(block, order, j, count);
        }
        if (!write_now(repair, block, size, place)) {
            return false;
        }
        table[i] = GUINT64_TO_BE(place);
    }
    return write_now(repair, table, table_clusters << bits, room << bits);
}

/* Lead the header to the new refcounts, then say that the image is not dirty. */
static bool write_header(Repair *repair, uint64_t room, uint64_t table_clusters)
{
    Qcow2Header *header = &repair->qcow2->header;
    uint8_t place[sizeof(uint64_t) + sizeof(uint32_t)];
    const uint64_t offset = GUINT64_TO_BE(room << header->cluster_bits);
    const uint32_t clusters = GUINT32_TO_BE((uint32_t)table_clusters);
    uint64_t features = GUINT64_TO_BE(header->incompatible & ~QCOW2_DIRTY);

    memcpy(place, &offset, sizeof(offset));
    memcpy(place + sizeof(offset), &clusters, sizeof(clusters));
    if (!write_now(repair, place, sizeof(place), QCOW2_AT_REFCOUNT_TABLE) || !flush_now(repair) ||
        !write_now(repair, &features, sizeof(features), QCOW2_AT_INCOMPATIBLE) ||
        !flush_now(repair)) {
        return false;
    }
    header->refcount_table_offset = room << header->cluster_bits;
    header->refcount_table_clusters = (uint32_t)table_clusters;
    header->incompatible &= ~QCOW2_DIRTY;
    return true;
}

/* Give back the space of clusters that are not used, which is only a hint. How many there are. */
static uint64_t give_back(const Repair *repair, uint64_t room)
{
    const unsigned bits = repair->qcow2->header.cluster_bits;
    uint64_t count = 0;

    for (uint64_t i = 0; i < room; i++) {
        const uint64_t first = i;

        while (i < room && repair->uses[i] == 0) {
            i++;
        }
        if (i > first) {
            (void)change_now(repair->qcow2->file, BLOCK_DISCARD, NULL, (i - first) << bits,
                             first << bits);
            count += i - first;
        }
    }
    return count;
}

static bool rebuild(Repair *repair)
{
    BlockQcow2 *qcow2 = repair->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    const uint64_t size = qcow2_cluster_size(qcow2);
    const uint64_t per_block = size * 8 >> qcow2->header.refcount_order;
    const uint64_t room = find_room(repair);
    uint64_t table_clusters = 1, blocks = 1, end, used = 0;

    /* The refcounts count themselves. */
    for (;;) {
        end = room + table_clusters + blocks;
        if (blocks >= (end + per_block - 1) / per_block &&
            table_clusters << bits >= blocks * sizeof(uint64_t)) {
            break;
        }
        blocks = MAX(blocks, (end + per_block - 1) / per_block);
        table_clusters = qcow2_clusters_of(qcow2, blocks * sizeof(uint64_t));
    }
    if (table_clusters << bits > QCOW2_REFCOUNT_TABLE_BYTES_MAX) {
        return fail(repair, "its refcount table would be too large");
    }
    if (block_raw_extend(qcow2->file, (int64_t)(end << bits)) < 0) {
        return fail(repair, "the file cannot grow");
    }
    repair->marks = true;
    if ((repair->wrong > 0 && !scan_tables(repair)) ||
        !write_refcounts(repair, room, table_clusters, blocks, end) || !flush_now(repair) ||
        !write_header(repair, room, table_clusters)) {
        return false;
    }
    for (uint64_t i = 0; i < repair->clusters; i++) {
        used += repair->uses[i] > 0;
    }
    const uint64_t unused = give_back(repair, room);
    /* New clusters are taken where the file has never been. */
    if (block_raw_truncate(qcow2->file, (int64_t)(end << bits)) < 0) {
        return fail(repair, "the file cannot be cut");
    }
    atomic_store(&qcow2->file_end, end << bits);
    g_message("'%s' was not closed by who wrote it last: its refcounts were rebuilt "
              "(%" G_GUINT64_FORMAT " clusters are used, %" G_GUINT64_FORMAT " were not and are "
              "given back)",
              qcow2->node.name, used,
              unused + (repair->clusters > end ? repair->clusters - end : 0));
    return true;
}

bool block_qcow2_repair(BlockQcow2 *qcow2, GError **error)
{
    Repair repair = {.qcow2 = qcow2};
    bool ok;

    if (qcow2->header.autoclear & BITMAPS) {
        ok = fail(&repair, "it has bitmaps");
    } else {
        ok = count_uses(&repair) && rebuild(&repair);
    }
    g_free(repair.uses);
    g_free(repair.l1);
    if (!ok) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "it cannot be written to: its refcounts were not written, and cannot be "
                    "rebuilt here: %s ('qemu-img check -r all' may do it)",
                    repair.why);
    }
    return ok;
}
