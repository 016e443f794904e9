/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From an offset on the disk to a place in the file. How a table can be looked at without a
 * lock: see qcow2-cache.c.
 */
#include <errno.h>

#include "fs/block/qcow2-internal.h"

bool block_qcow2_is_in_file(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length)
{
    const uint64_t end = atomic_load_explicit(&qcow2->file_end, memory_order_acquire);

    return offset <= end && length <= end - offset;
}

/* The kind of an entry, and its cluster's place. */
static int parse_entry(const BlockQcow2 *qcow2, uint64_t entry, Qcow2Run *run)
{
    run->entry = entry;
    if (entry & QCOW2_COMPRESSED) {
        run->kind = QCOW2_KIND_COMPRESSED;
        run->copied = false;
        return 0;
    }
    run->host_offset = entry & QCOW2_OFFSET;
    run->copied = (entry & QCOW2_COPIED) != 0;
    if (qcow2->header.version >= 3 && entry & QCOW2_READS_ZERO) {
        run->kind = QCOW2_KIND_ZERO;
    } else if (run->host_offset == 0) {
        run->kind = QCOW2_KIND_BELOW;
    } else if (run->host_offset & (qcow2_cluster_size(qcow2) - 1)) {
        return -EIO;
    } else {
        run->kind = QCOW2_KIND_DATA;
    }
    return 0;
}

/* Whether @next goes on where @run ends, @bytes (whole clusters) behind its beginning. */
static bool continues(const Qcow2Run *run, const Qcow2Run *next, uint64_t bytes)
{
    return next->kind == run->kind &&
           (run->kind != QCOW2_KIND_DATA ||
            (next->host_offset == run->host_offset + bytes && next->copied == run->copied));
}

/* How many bytes from @offset on, at most @length, have no table. */
static uint64_t untabled(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length)
{
    const unsigned bits = qcow2->header.cluster_bits + qcow2->l2_bits;
    const uint64_t end = offset + length;
    uint64_t next = (offset >> bits) + 1;

    while (next << bits < end &&
           atomic_load_explicit(&qcow2->l1[next], memory_order_acquire) == 0) {
        next++;
    }
    return MIN(next << bits, end) - offset;
}

static uint64_t entry_at(const Qcow2Table *table, uint64_t index)
{
    return GUINT64_FROM_BE(atomic_load_explicit(&table->entries[index], memory_order_acquire));
}

/* What @table says, for at most @length bytes, which it covers. */
static int map_in_table(const BlockQcow2 *qcow2, const Qcow2Table *table, uint64_t offset,
                        uint64_t length, Qcow2Run *run)
{
    const uint64_t size = qcow2_cluster_size(qcow2), inside = offset & (size - 1);
    uint64_t index = qcow2_l2_index(qcow2, offset), covered;
    int result = parse_entry(qcow2, entry_at(table, index), run);

    if (result < 0) {
        return result;
    }
    for (covered = size; covered < inside + length && run->kind != QCOW2_KIND_COMPRESSED;
         covered += size) {
        Qcow2Run next;

        index++;
        if (parse_entry(qcow2, entry_at(table, index), &next) < 0 ||
            !continues(run, &next, covered)) {
            break;
        }
    }
    run->length = MIN(length, covered - inside);
    run->host_offset += inside;
    return 0;
}

int block_qcow2_map(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run)
{
    const unsigned bits = qcow2->header.cluster_bits + qcow2->l2_bits;
    const uint64_t l1 = qcow2_l1_index(qcow2, offset);
    Qcow2Table *table;
    uint64_t generation;
    int result;

    if (atomic_load_explicit(&qcow2->l1[l1], memory_order_acquire) == 0) {
        *run = (Qcow2Run){.kind = QCOW2_KIND_BELOW, .length = untabled(qcow2, offset, length)};
        return 0;
    }
    table = atomic_load_explicit(&qcow2->l2[l1], memory_order_acquire);
    if (table == NULL) {
        return -EAGAIN;
    }
    generation = atomic_load_explicit(&table->generation, memory_order_acquire);
    if (atomic_load_explicit(&qcow2->l2[l1], memory_order_acquire) != table) {
        return -EAGAIN;
    }
    result = map_in_table(qcow2, table, offset, MIN(length, ((l1 + 1) << bits) - offset), run);
    if (atomic_load_explicit(&table->generation, memory_order_relaxed) != generation) {
        return -EAGAIN; /* it was another one */
    }
    if (!atomic_load_explicit(&table->used, memory_order_relaxed)) {
        atomic_store_explicit(&table->used, true, memory_order_relaxed);
    }
    /* A file may end within its last cluster, or before it: there it reads as zeros. */
    if (result == 0 && run->kind == QCOW2_KIND_DATA &&
        !block_qcow2_is_in_file(qcow2, run->host_offset, run->length)) {
        if (block_qcow2_is_in_file(qcow2, run->host_offset, 1)) {
            run->length = MIN(run->length, atomic_load(&qcow2->file_end) - run->host_offset);
        } else {
            run->kind = QCOW2_KIND_ZERO;
        }
    }
    return result;
}

int block_qcow2_find(BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run)
{
    int result;

    while ((result = block_qcow2_map(qcow2, offset, length, run)) == -EAGAIN) {
        result = block_qcow2_load(qcow2, offset);
        if (result < 0) {
            break;
        }
    }
    return result;
}

bool block_qcow2_compressed_place(const BlockQcow2 *qcow2, uint64_t entry, uint64_t *offset,
                                  uint64_t *length)
{
    const unsigned offset_bits = 62 - (qcow2->header.cluster_bits - 8);
    const uint64_t sectors = (entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> offset_bits;

    *offset = entry & ((UINT64_C(1) << offset_bits) - 1);
    *length = (sectors + 1) * 512 - (*offset & 511);
    if (!block_qcow2_is_in_file(qcow2, *offset, 1)) {
        return false;
    }
    /* The last sector may lie behind the end of the file. */
    *length = MIN(*length, atomic_load(&qcow2->file_end) - *offset);
    return true;
}
