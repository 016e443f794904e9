/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts, new clusters, and making the writer.
 *
 * A block of refcounts is one cluster of numbers of 1 to 64 bits; the refcount table says where
 * the blocks are. Both are clusters of the file as well and have refcounts of their
 * own: what needs a new one goes round until nothing more is needed.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <gio/gio.h>

#include "fs/block/qcow2-writer.h"
#include "fs/block/raw.h"

/* The file grows by so much at a time. */
#define GROWTH (1024 * 1024)

static uint64_t refcounts_per_block(const BlockQcow2 *qcow2)
{
    return qcow2_cluster_size(qcow2) * 8 >> qcow2->header.refcount_order;
}

/* Read a block that has not been looked at yet. */
static int load_block(Qcow2Writer *writer, uint64_t index)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t size = qcow2_cluster_size(qcow2);
    uint8_t *block;
    int result;

    if (writer->table[index] & (size - 1) ||
        !block_qcow2_is_in_file(qcow2, writer->table[index], size)) {
        return -EIO;
    }
    block = g_try_malloc(size);
    if (block == NULL) {
        return -ENOMEM;
    }
    result = block_co_read(qcow2->file, block, size, (int64_t)writer->table[index]);
    if (result < 0) {
        g_free(block);
        return result;
    }
    writer->blocks[index] = block;
    g_array_append_val(writer->loaded, index);
    return 0;
}

void block_qcow2_keep_blocks(Qcow2Writer *writer, guint limit)
{
    for (guint i = 2 * writer->loaded->len; i > 0 && writer->loaded->len > limit; i--) {
        const guint at = writer->hand < writer->loaded->len ? writer->hand : 0;
        const uint64_t index = g_array_index(writer->loaded, uint64_t, at);

        if (!writer->block_dirty[index] && !writer->block_used[index]) {
            g_free(g_steal_pointer(&writer->blocks[index]));
            g_array_remove_index_fast(writer->loaded, at); /* the last one is here now */
            writer->hand = at;
        } else {
            if (!writer->block_dirty[index]) {
                writer->block_used[index] = false;
            }
            writer->hand = at + 1;
        }
    }
}

void block_qcow2_store_refcount(uint8_t *block, unsigned order, uint64_t index, uint64_t value)
{
    if (order < 3) {
        const unsigned bits = 1u << order, per_byte = 8 / bits;
        const unsigned shift = (unsigned)(index % per_byte) * bits;
        const unsigned mask = ((1u << bits) - 1) << shift;
        uint8_t *byte = &block[index / per_byte];

        *byte = (uint8_t)((*byte & ~mask) | (value << shift & mask));
        return;
    }
    const unsigned bytes = 1u << (order - 3);
    for (unsigned i = 0; i < bytes; i++) {
        block[index * bytes + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    }
}

static uint64_t load_refcount(const uint8_t *block, unsigned order, uint64_t index)
{
    uint64_t value = 0;

    if (order < 3) {
        const unsigned bits = 1u << order, per_byte = 8 / bits;

        return block[index / per_byte] >> (unsigned)(index % per_byte) * bits & ((1u << bits) - 1);
    }
    const unsigned bytes = 1u << (order - 3);
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | block[index * bytes + i];
    }
    return value;
}

static void mark_table(Qcow2Writer *writer, uint64_t first, uint64_t end)
{
    if (writer->table_first == writer->table_end) {
        writer->table_first = first;
        writer->table_end = end;
    } else {
        writer->table_first = MIN(writer->table_first, first);
        writer->table_end = MAX(writer->table_end, end);
    }
}

/* Clusters behind all that are used, without a refcount yet. */
static int take(Qcow2Writer *writer, uint64_t count, uint64_t *cluster)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    uint64_t end;

    if (count > (uint64_t)INT64_MAX >> bits ||
        writer->next_cluster > ((uint64_t)INT64_MAX >> bits) - count) {
        return -EFBIG;
    }
    end = (writer->next_cluster + count) << bits;
    if (end > atomic_load(&qcow2->file_end)) {
        /* In large steps, and to a place that suits direct I/O. */
        const uint64_t size = (end / GROWTH + 1) * GROWTH;
        int result = size > INT64_MAX ? -EFBIG : block_raw_extend(qcow2->file, (int64_t)size);

        if (result < 0) {
            return result;
        }
        writer->grown = true;
        atomic_store_explicit(&qcow2->file_end, size, memory_order_release);
    }
    *cluster = writer->next_cluster;
    writer->next_cluster += count;
    return 0;
}

static int set_refcount(Qcow2Writer *writer, uint64_t cluster, uint64_t value);

/* A table of twice the size, behind everything else. */
static int grow_table(Qcow2Writer *writer, uint64_t needed)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    const uint64_t per_cluster = qcow2_cluster_size(qcow2) / 8;
    const uint64_t clusters =
        (MAX(needed, writer->table_entries * 2) + per_cluster - 1) / per_cluster;
    const uint64_t entries = clusters * per_cluster, old_entries = writer->table_entries;
    const uint64_t old_offset = writer->table_offset;
    uint64_t cluster;
    int result = entries > QCOW2_REFCOUNT_TABLE_BYTES_MAX / sizeof(uint64_t)
                     ? -EFBIG
                     : take(writer, clusters, &cluster);

    if (result < 0) {
        return result;
    }
    writer->table = g_renew(uint64_t, writer->table, entries);
    writer->blocks = g_renew(uint8_t *, writer->blocks, entries);
    writer->block_dirty = g_renew(uint8_t, writer->block_dirty, entries);
    writer->block_used = g_renew(uint8_t, writer->block_used, entries);
    memset(writer->table + old_entries, 0, (entries - old_entries) * sizeof(uint64_t));
    memset(writer->blocks + old_entries, 0, (entries - old_entries) * sizeof(uint8_t *));
    memset(writer->block_dirty + old_entries, 0, entries - old_entries);
    memset(writer->block_used + old_entries, 0, entries - old_entries);
    writer->table_entries = entries;
    writer->table_offset = cluster << bits;
    writer->table_moved = true;
    mark_table(writer, 0, entries);
    for (uint64_t i = 0; i < clusters && result == 0; i++) {
        result = set_refcount(writer, cluster + i, 1);
    }
    for (uint64_t i = 0; i < old_entries / per_cluster; i++) {
        block_qcow2_release(writer, old_offset + (i << bits));
    }
    return result;
}

/* The block with refcount @index, in memory. */
static int need_block(Qcow2Writer *writer, uint64_t index)
{
    uint64_t cluster;
    int result;

    if (index >= writer->table_entries) {
        result = grow_table(writer, index + 1);
        if (result < 0) {
            return result;
        }
    }
    writer->block_used[index] = true;
    if (writer->blocks[index] != NULL) {
        return 0;
    }
    block_qcow2_keep_blocks(writer, block_qcow2_blocks_limit(writer->qcow2) - 1);
    if (writer->table[index] != 0) {
        return load_block(writer, index);
    }
    result = take(writer, 1, &cluster);
    if (result < 0) {
        return result;
    }
    writer->blocks[index] = g_try_malloc0(qcow2_cluster_size(writer->qcow2));
    if (writer->blocks[index] == NULL) {
        return -ENOMEM;
    }
    g_array_append_val(writer->loaded, index);
    writer->table[index] = cluster << writer->qcow2->header.cluster_bits;
    writer->block_dirty[index] = true;
    writer->block_added = true;
    mark_table(writer, index, index + 1);
    return set_refcount(writer, cluster, 1);
}

static int set_refcount(Qcow2Writer *writer, uint64_t cluster, uint64_t value)
{
    const uint64_t entries = refcounts_per_block(writer->qcow2), index = cluster / entries;
    int result = need_block(writer, index);

    if (result == 0) {
        block_qcow2_store_refcount(writer->blocks[index], writer->qcow2->header.refcount_order,
                                   cluster % entries, value);
        writer->block_dirty[index] = true;
        atomic_store(&writer->dirty, true);
    }
    return result;
}

int block_qcow2_decrement(Qcow2Writer *writer, uint64_t cluster)
{
    const uint64_t entries = refcounts_per_block(writer->qcow2), index = cluster / entries;
    uint64_t value;
    int result;

    /* What an image claims to have used may be anywhere. */
    if (index >= writer->table_entries || writer->table[index] == 0) {
        return 0;
    }
    result = need_block(writer, index);
    if (result < 0) {
        return result;
    }
    value = load_refcount(writer->blocks[index], writer->qcow2->header.refcount_order,
                          cluster % entries);
    return value == 0 ? 0 : set_refcount(writer, cluster, value - 1);
}

int block_qcow2_allocate(Qcow2Writer *writer, uint64_t count, uint64_t *offset)
{
    uint64_t cluster;
    int result = take(writer, count, &cluster);

    if (result < 0) {
        return result;
    }
    for (uint64_t i = 0; i < count && result == 0; i++) {
        result = set_refcount(writer, cluster + i, 1);
    }
    if (result < 0) {
        writer->failed = true; /* tables may lead to clusters without a refcount */
    }
    *offset = cluster << writer->qcow2->header.cluster_bits;
    return result;
}

void block_qcow2_release(Qcow2Writer *writer, uint64_t offset)
{
    uint64_t cluster = offset >> writer->qcow2->header.cluster_bits;

    g_array_append_val(writer->unneeded, cluster);
    atomic_store(&writer->dirty, true);
}

/* --- the writer --- */

static bool refuse(GError **error, const char *why)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "it cannot be written to: %s", why);
    return false;
}

static bool check_writable(const BlockQcow2 *qcow2, GError **error)
{
    const Qcow2Header *header = &qcow2->header;

    if (header->incompatible & QCOW2_CORRUPT) {
        return refuse(error, "it is marked as corrupt ('qemu-img check -r all' repairs it)");
    }
    if (header->snapshots > 0) {
        return refuse(error, "it has internal snapshots");
    }
    if (header->refcount_table_clusters == 0) {
        return refuse(error, "it has no refcount table");
    }
    struct stat st;
    int fd = block_raw_fd(qcow2->file);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return refuse(error, "it is not a whole file, which could grow");
    }
    return true;
}

static bool read_refcount_table(Qcow2Writer *writer, GError **error)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t bytes = (uint64_t)qcow2->header.refcount_table_clusters
                           << qcow2->header.cluster_bits;
    int result;

    writer->table_offset = qcow2->header.refcount_table_offset;
    writer->table_entries = bytes / 8;
    writer->table = g_try_malloc0(bytes);
    writer->blocks = g_try_new0(uint8_t *, writer->table_entries);
    writer->block_dirty = g_try_malloc0(writer->table_entries);
    writer->block_used = g_try_malloc0(writer->table_entries);
    if (writer->table == NULL || writer->blocks == NULL || writer->block_dirty == NULL ||
        writer->block_used == NULL) {
        return refuse(error, "not enough memory for its refcount table");
    }
    result = block_read_now(qcow2->file, writer->table, bytes, (int64_t)writer->table_offset);
    if (result < 0) {
        return refuse(error, "its refcount table cannot be read");
    }
    for (uint64_t i = 0; i < writer->table_entries; i++) {
        writer->table[i] = GUINT64_FROM_BE(writer->table[i]) & QCOW2_OFFSET;
    }
    return true;
}

/*
 * The first cluster behind all that are used: behind the file's end, and behind the
 * last that has a refcount, for a file may have been cut where it holds zeros.
 */
static bool find_end(Qcow2Writer *writer, GError **error)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t size = qcow2_cluster_size(qcow2), entries = refcounts_per_block(qcow2);
    g_autofree uint8_t *block = g_try_malloc(size);
    uint64_t index = writer->table_entries;

    writer->next_cluster = ((uint64_t)qcow2->file->size + size - 1) / size;
    for (; index > 0; index--) {
        if (writer->table[index - 1] == 0) {
            continue;
        }
        if (block == NULL ||
            block_read_now(qcow2->file, block, size, (int64_t)writer->table[index - 1]) < 0) {
            return refuse(error, "a block of refcounts cannot be read");
        }
        for (uint64_t i = entries; i > 0; i--) {
            if (load_refcount(block, qcow2->header.refcount_order, i - 1) > 0) {
                writer->next_cluster = MAX(writer->next_cluster, (index - 1) * entries + i);
                return true;
            }
        }
    }
    return true;
}

/* Every cluster that is used lies inside of the file from now on, as a whole. */
static bool fill_up(Qcow2Writer *writer, GError **error)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;

    if (writer->next_cluster > (uint64_t)INT64_MAX >> bits ||
        block_raw_extend(qcow2->file, (int64_t)(writer->next_cluster << bits)) < 0) {
        return refuse(error, "its refcounts speak of clusters that no file can have");
    }
    atomic_store(&qcow2->file_end, MAX((uint64_t)qcow2->file->size, writer->next_cluster << bits));
    return true;
}

bool block_qcow2_writer_new(BlockQcow2 *qcow2, GError **error)
{
    Qcow2Writer *writer;

    if (!check_writable(qcow2, error) ||
        (qcow2->header.incompatible & QCOW2_DIRTY && !block_qcow2_repair(qcow2, error))) {
        return false;
    }
    writer = qcow2->writer = g_new0(Qcow2Writer, 1);
    writer->qcow2 = qcow2;
    atomic_init(&writer->size, qcow2->header.size);
    aio_co_mutex_init(&writer->lock);
    aio_co_mutex_init(&writer->growing);
    aio_co_queue_init(&writer->allocated);
    writer->unneeded = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    writer->dirty_tables = g_ptr_array_new();
    writer->loaded = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    atomic_init(&qcow2->clears_features, qcow2->header.autoclear != 0);
    if (!read_refcount_table(writer, error) || !find_end(writer, error) ||
        !fill_up(writer, error)) {
        return false;
    }
    block_raw_set_endless(qcow2->file);
    return true;
}

void block_qcow2_writer_close(Qcow2Writer *writer)
{
    BlockQcow2 *qcow2 = writer == NULL ? NULL : writer->qcow2;
    int result = 0;

    if (writer == NULL || writer->table == NULL || writer->failed) {
        return; /* whoever wrote has been told */
    }
    /* A commit may leave something for the next: clusters that it made unneeded. */
    for (unsigned i = 0; i < 3 && result == 0 && block_qcow2_is_dirty(qcow2); i++) {
        result = block_flush_now(&qcow2->node);
    }
    if (result == 0 && writer->grown) {
        result = block_raw_truncate(qcow2->file,
                                    (int64_t)(writer->next_cluster << qcow2->header.cluster_bits));
    }
    if (result < 0) {
        g_warning("'%s': what was written last is lost: %s", qcow2->node.name, g_strerror(-result));
    }
}

void block_qcow2_writer_free(Qcow2Writer *writer)
{
    if (writer == NULL) {
        return;
    }
    for (guint i = 0; i < writer->loaded->len; i++) {
        g_free(writer->blocks[g_array_index(writer->loaded, uint64_t, i)]);
    }
    g_free(writer->blocks);
    g_free(writer->block_dirty);
    g_free(writer->block_used);
    g_array_free(writer->loaded, TRUE);
    g_free(writer->table);
    g_array_free(writer->unneeded, TRUE);
    g_ptr_array_free(writer->dirty_tables, TRUE);
    aio_co_mutex_fini(&writer->lock);
    aio_co_mutex_fini(&writer->growing);
    g_free(writer);
}

bool block_qcow2_is_dirty(const BlockQcow2 *qcow2)
{
    return qcow2->writer != NULL && atomic_load(&qcow2->writer->dirty);
}
