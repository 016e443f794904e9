/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing what is not one run of data that may be written in place.
 *
 * How it works: a coroutine under the writer's lock, so that one at a time changes tables.
 * What needs a new cluster is written there, with the rest of the cluster from
 * where it was before; then the table is changed in memory, from when on
 * everybody finds it. New clusters lie where the file has never been: what is not
 * written of them reads as zeros.
 *
 * Zeros: of a cluster in place the bytes are zeroed below; a cluster that is not here, or
 * compressed, is marked as reading zero (version 3) or written.
 */
#include <errno.h>

#include "aio/iov.h"
#include "fs/block/qcow2-writer.h"

/* The table of @offset, made if there is none. */
static int need_table(Qcow2Writer *writer, uint64_t offset, Qcow2Table **table)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t l1 = qcow2_l1_index(qcow2, offset);
    uint64_t place;
    int result;

    *table = atomic_load_explicit(&qcow2->l2[l1], memory_order_acquire);
    if (*table != NULL) {
        return 0;
    }
    if (atomic_load(&qcow2->l1[l1]) != 0) {
        result = block_qcow2_load(qcow2, offset);
        *table = atomic_load_explicit(&qcow2->l2[l1], memory_order_acquire);
        return result;
    }
    result = block_qcow2_allocate(writer, 1, &place);
    if (result < 0) {
        return result;
    }
    *table = g_try_malloc0(sizeof(**table) + (UINT64_C(8) << qcow2->l2_bits));
    if (*table == NULL) {
        return -ENOMEM;
    }
    (*table)->offset = place;
    atomic_store_explicit(&qcow2->l2[l1], *table, memory_order_release);
    atomic_store_explicit(&qcow2->l1[l1], place, memory_order_release);
    if (writer->l1_first == writer->l1_end) {
        writer->l1_first = l1;
        writer->l1_end = l1 + 1;
    } else {
        writer->l1_first = MIN(writer->l1_first, l1);
        writer->l1_end = MAX(writer->l1_end, l1 + 1);
    }
    return 0;
}

static uint64_t entry_at(const Qcow2Table *table, uint64_t index)
{
    return GUINT64_FROM_BE(atomic_load_explicit(&table->entries[index], memory_order_relaxed));
}

static bool is_in_place(const BlockQcow2 *qcow2, uint64_t entry)
{
    return !(entry & QCOW2_COMPRESSED) && entry & QCOW2_COPIED && entry & QCOW2_OFFSET &&
           !(qcow2->header.version >= 3 && entry & QCOW2_READS_ZERO);
}

/* Put @entry in place of what the cluster was, whose clusters of the file are then unneeded. */
static void set_entry(Qcow2Writer *writer, Qcow2Table *table, uint64_t index, uint64_t entry)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t old = entry_at(table, index), size = qcow2_cluster_size(qcow2);
    uint64_t offset, length;

    atomic_store_explicit(&table->entries[index], GUINT64_TO_BE(entry), memory_order_release);
    block_qcow2_touch(writer, table, index);
    if (!(old & QCOW2_COMPRESSED)) {
        if (old & QCOW2_OFFSET) {
            block_qcow2_release(writer, old & QCOW2_OFFSET);
        }
    } else if (block_qcow2_compressed_place(qcow2, old, &offset, &length)) {
        for (uint64_t at = offset & ~(size - 1); at < offset + length; at += size) {
            block_qcow2_release(writer, at);
        }
    }
}

/* Copy @length bytes of the disk at @from, as they are now, to @to in the file. */
static int copy_up(BlockQcow2 *qcow2, uint64_t from, uint64_t length, uint64_t to)
{
    g_autofree char *buffer = NULL;
    Qcow2Run run;
    int result;

    if (length == 0) {
        return 0;
    }
    result = block_qcow2_map(qcow2, from, length, &run);
    if (result < 0) {
        return result;
    }
    if (run.kind == QCOW2_KIND_ZERO || (run.kind == QCOW2_KIND_BELOW && qcow2->backing == NULL)) {
        return 0; /* where it goes there are zeros */
    }
    buffer = g_try_malloc(length);
    if (buffer == NULL) {
        return -ENOMEM;
    }
    result = block_co_read(&qcow2->node, buffer, length, (int64_t)from);
    return result < 0 ? result : block_co_write(qcow2->file, buffer, length, (int64_t)to, 0);
}

/* Write a part of the request's vector to a place in the file. */
static int write_part(BlockQcow2 *qcow2, const BlockRequest *request, uint64_t skip,
                      uint64_t length, uint64_t to)
{
    g_autofree struct iovec *iov = g_try_new(struct iovec, request->iov_count);
    BlockRequest part;

    if (iov == NULL) {
        return -ENOMEM;
    }
    block_request_init_vector(&part, BLOCK_WRITE, iov,
                              aio_iov_slice(request->iov, request->iov_count, skip, length, iov),
                              (int64_t)to);
    return block_co_run(qcow2->file, &part);
}

/*
 * Write to new clusters: from @offset up to the next cluster that can be written in place, the end
 * of its table, or @length bytes. *@bytes: how many were written.
 */
static int write_new(Qcow2Writer *writer, const BlockRequest *request, uint64_t skip,
                     uint64_t offset, uint64_t length, uint64_t *bytes)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    const uint64_t size = qcow2_cluster_size(qcow2), first = offset & ~(size - 1);
    const uint64_t index = qcow2_l2_index(qcow2, offset), entries = UINT64_C(1) << qcow2->l2_bits;
    uint64_t count = 0, place, end, tail;
    Qcow2Table *table;
    int result = need_table(writer, offset, &table);

    if (result < 0) {
        return result;
    }
    while (index + count < entries && first + (count << bits) < offset + length &&
           !is_in_place(qcow2, entry_at(table, index + count))) {
        count++;
    }
    /* A cluster that is said to be in place, behind the end of the file, is not. */
    count = MAX(count, 1);
    result = block_qcow2_allocate(writer, count, &place);
    if (result < 0) {
        return result;
    }
    end = MIN(first + (count << bits), qcow2->header.size);
    *bytes = MIN(length, end - offset);
    tail = end - (offset + *bytes);
    result = copy_up(qcow2, first, offset - first, place);
    if (result == 0) {
        result = copy_up(qcow2, offset + *bytes, tail, place + (offset + *bytes - first));
    }
    if (result == 0) {
        result = write_part(qcow2, request, skip, *bytes, place + (offset - first));
    }
    for (uint64_t i = 0; i < count; i++) {
        if (result == 0) {
            set_entry(writer, table, index + i, (place + (i << bits)) | QCOW2_COPIED);
        } else {
            block_qcow2_release(writer, place + (i << bits));
        }
    }
    return result;
}

/* What is at @offset; in a coroutine. */
static int find(BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run)
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

static int write_range(Qcow2Writer *writer, const BlockRequest *request, uint64_t offset,
                       uint64_t length)
{
    uint64_t done = 0;
    int result = 0;

    while (done < length && result == 0) {
        uint64_t bytes = 0;
        Qcow2Run run;

        result = find(writer->qcow2, offset + done, length - done, &run);
        if (result < 0) {
            break;
        }
        if (run.kind == QCOW2_KIND_DATA && run.copied) {
            bytes = run.length;
            result = write_part(writer->qcow2, request, done, bytes, run.host_offset);
        } else {
            result = write_new(writer, request, done, offset + done, length - done, &bytes);
        }
        done += bytes;
    }
    return result;
}

static int write_zeros(Qcow2Writer *writer, uint64_t offset, uint64_t length)
{
    g_autofree char *zeros = g_try_malloc0(length);
    BlockRequest request;

    if (zeros == NULL) {
        return -ENOMEM;
    }
    block_request_init(&request, BLOCK_WRITE, zeros, length, (int64_t)offset);
    return write_range(writer, &request, offset, length);
}

/* Make one cluster, or the part of it that is asked for, read as zeros. */
static int zero_cluster(Qcow2Writer *writer, uint64_t offset, uint64_t length, uint64_t *bytes)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t size = qcow2_cluster_size(qcow2), inside = offset & (size - 1);
    const uint64_t whole = MIN(size, qcow2->header.size - (offset - inside));
    Qcow2Table *table;
    int result;

    *bytes = MIN(length, whole - inside);
    if (qcow2->header.version < 3 || *bytes < whole) {
        return write_zeros(writer, offset, *bytes);
    }
    result = need_table(writer, offset, &table);
    if (result == 0) {
        set_entry(writer, table, qcow2_l2_index(qcow2, offset), QCOW2_READS_ZERO);
    }
    return result;
}

static bool is_zero_already(const BlockQcow2 *qcow2, const Qcow2Run *run, uint64_t offset)
{
    return run->kind == QCOW2_KIND_ZERO ||
           (run->kind == QCOW2_KIND_BELOW &&
            (qcow2->backing == NULL || offset >= (uint64_t)qcow2->backing->size));
}

static int zero_in_place(BlockQcow2 *qcow2, const Qcow2Run *run, unsigned flags)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_ZERO, NULL, run->length, (int64_t)run->host_offset);
    request.flags = flags & BLOCK_MAY_UNMAP;
    return block_co_run(qcow2->file, &request);
}

/* @hint: what is not in place may stay as it is. */
static int zero_range(Qcow2Writer *writer, uint64_t offset, uint64_t length, unsigned flags,
                      bool hint)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    uint64_t done = 0;
    int result = 0;

    while (done < length && result == 0) {
        uint64_t bytes = 0;
        Qcow2Run run;

        result = find(qcow2, offset + done, length - done, &run);
        if (result < 0) {
            break;
        }
        if (run.kind == QCOW2_KIND_DATA && run.copied) {
            bytes = run.length;
            result = zero_in_place(qcow2, &run, flags);
        } else if (hint || is_zero_already(qcow2, &run, offset + done)) {
            bytes = run.length;
        } else {
            result = zero_cluster(writer, offset + done, length - done, &bytes);
        }
        done += bytes;
    }
    return result;
}

/*
 * The last cluster has room behind the disk's end that nobody ever looked at. A backing file that
 * goes on behind the end would show through.
 */
static int grow(Qcow2Writer *writer, uint64_t size)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t cluster = qcow2_cluster_size(qcow2), old = (uint64_t)qcow2->node.size;
    const uint64_t rest = (cluster - old % cluster) % cluster;
    int result;

    if (size < old || size % 512 != 0) {
        return -EINVAL;
    }
    if (qcow2->backing != NULL && (uint64_t)qcow2->backing->size > old) {
        return -EOPNOTSUPP;
    }
    result = block_qcow2_grow_tables(writer, size);
    if (result == 0) {
        qcow2->header.size = size;
        result = zero_range(writer, old, MIN(rest, size - old), 0, false);
    }
    if (result == 0) {
        result = block_qcow2_write_size(writer, size);
    }
    if (result == 0) {
        qcow2->node.size = (int64_t)size;
    } else {
        qcow2->header.size = old;
    }
    return result;
}

static int change(Qcow2Writer *writer, BlockRequest *request)
{
    const uint64_t offset = (uint64_t)request->offset, length = request->length;

    switch (request->op) {
    case BLOCK_WRITE:
        return write_range(writer, request, offset, length);
    case BLOCK_ZERO:
        return zero_range(writer, offset, length, request->flags, false);
    case BLOCK_DISCARD:
        return zero_range(writer, offset, length, BLOCK_MAY_UNMAP, true);
    case BLOCK_GROW:
        return grow(writer, offset);
    default:
        return 0;
    }
}

static void change_coroutine(void *opaque)
{
    BlockRequest *request = opaque;
    BlockQcow2 *qcow2 = aio_container_of(request->node, BlockQcow2, node);
    Qcow2Writer *writer = qcow2->writer;
    int result = 0;

    aio_co_mutex_lock(&writer->lock);
    if (writer->failed) {
        result = -EIO;
    } else if (request->op != BLOCK_FLUSH) {
        result = block_qcow2_clear_features(writer);
    }
    if (result == 0) {
        result = change(writer, request);
    }
    if (result == 0 && (request->op == BLOCK_FLUSH || request->flags & BLOCK_FUA)) {
        result = block_qcow2_commit(writer);
    }
    aio_co_mutex_unlock(&writer->lock);
    block_complete(request, result);
}

void block_qcow2_change(BlockQcow2 *qcow2, BlockRequest *request)
{
    AioCoroutine *co;

    request->node = &qcow2->node;
    co = aio_co_new(change_coroutine, request);
    if (co == NULL) {
        block_complete(request, -errno);
        return;
    }
    aio_co_enter(co);
}
