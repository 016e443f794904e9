/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing what is not one run of data that may be written in place.
 *
 * How it works: what needs new clusters is an allocation. Under the writer's lock it takes
 * clusters behind the end of the file and enters the list of allocations under way. Then, with the
 * lock free for others, data is written there, with the rest of the first and last cluster from
 * where it was before: many allocations do so at once. Under the lock again the table is changed
 * in memory, from when on everybody finds the new place, and the allocation leaves the list.
 * New clusters lie where the file has never been: what is not written of them reads as zeros.
 *
 * Who wants to change a cluster that is in the list waits, and then looks again: it is in place
 * by then, or as it was. He has none in the list himself, so nobody waits in a circle.
 *
 * A commit holds the lock. What it finds in the tables leads to data that was written before, and
 * so is durable before the tables are; what is in the list is not in the tables, and lost is at
 * worst the space.
 *
 * Zeros: of a cluster in place the bytes are zeroed below; a cluster that is not here, or
 * compressed, is marked as reading zero (version 3) or written.
 */
#include <errno.h>

#include "aio/iov.h"
#include "fs/block/qcow2-writer.h"

/* The table of @offset, pinned, made if there is none. */
static int need_table(Qcow2Writer *writer, uint64_t offset, Qcow2Table **table)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t l1 = qcow2_l1_index(qcow2, offset);
    uint64_t place;
    int result;

    if (atomic_load(&qcow2->l1[l1]) != 0) {
        return block_qcow2_pin(qcow2, offset, table);
    }
    result = block_qcow2_allocate(writer, 1, &place);
    if (result < 0) {
        return result;
    }
    *table = block_qcow2_add_table(qcow2, l1, place);
    if (*table == NULL) {
        block_qcow2_release(writer, place);
        return -ENOMEM;
    }
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

    /* Dirty first: who writes in place where the entry leads must not take a flush for needless. */
    block_qcow2_touch(writer, table, index);
    atomic_store_explicit(&table->entries[index], GUINT64_TO_BE(entry), memory_order_release);
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
    const uint64_t size = (uint64_t)qcow2->node.size;
    g_autofree char *buffer = NULL;
    Qcow2Run run;
    int result;

    if (length == 0 || from >= size) {
        return 0;
    }
    length = MIN(length, size - from); /* it may be growing: zeros behind the old end */
    result = block_qcow2_find(qcow2, from, length, &run);
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

/* --- allocations under way --- */

struct Qcow2Allocation {
    Qcow2Allocation *next;
    uint64_t begin, end; /* of the disk, whole clusters */
};

/* Where the first allocation under way in a range of the disk begins, or @end. */
static uint64_t first_under_way(const Qcow2Writer *writer, uint64_t begin, uint64_t end)
{
    for (const Qcow2Allocation *one = writer->allocations; one != NULL; one = one->next) {
        if (one->begin < end && begin < one->end) {
            end = MAX(one->begin, begin);
        }
    }
    return end;
}

static void allocation_ends(Qcow2Writer *writer, Qcow2Allocation *allocation)
{
    Qcow2Allocation **link = &writer->allocations;

    while (*link != allocation) {
        link = &(*link)->next;
    }
    *link = allocation->next;
    aio_co_queue_wake_all(&writer->allocated);
}

/* --- writing --- */

/* A write to new clusters: a range of the disk, whole clusters but for the disk's end. */
typedef struct NewClusters {
    Qcow2Allocation allocation;
    Qcow2Table *table;     /* pinned */
    uint64_t index, count; /* of its entries */
    uint64_t place;        /* in the file */
    uint64_t end;          /* of the disk: as far as there are bytes */
} NewClusters;

/*
 * From @offset up to the next cluster that is in place or under way, the end of its table, or
 * @length bytes.
 */
static int take_clusters(Qcow2Writer *writer, uint64_t offset, uint64_t length, NewClusters *new)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const unsigned bits = qcow2->header.cluster_bits;
    const uint64_t begin = offset >> bits << bits, entries = UINT64_C(1) << qcow2->l2_bits;
    const uint64_t end = first_under_way(writer, begin, offset + length);
    int result = need_table(writer, offset, &new->table);

    if (result < 0) {
        return result;
    }
    new->index = qcow2_l2_index(qcow2, offset);
    new->count = 1; /* one that is said to be in place, behind the end of the file, is not */
    while (new->index + new->count < entries && begin + (new->count << bits) < end &&
           !is_in_place(qcow2, entry_at(new->table, new->index + new->count))) {
        new->count++;
    }
    result = block_qcow2_allocate(writer, new->count, &new->place);
    if (result < 0) {
        block_qcow2_unpin(new->table);
        return result;
    }
    new->end = MIN(begin + (new->count << bits), writer->size);
    new->allocation = (Qcow2Allocation){
        .next = writer->allocations, .begin = begin, .end = begin + (new->count << bits)};
    writer->allocations = &new->allocation;
    return 0;
}

static int fill_clusters(BlockQcow2 *qcow2, const BlockRequest *request, uint64_t skip,
                         uint64_t offset, uint64_t length, const NewClusters *new)
{
    const uint64_t begin = new->allocation.begin, end = offset + length;
    int result = copy_up(qcow2, begin, offset - begin, new->place);

    if (result == 0) {
        result = copy_up(qcow2, end, new->end - end, new->place + (end - begin));
    }
    if (result == 0) {
        result = write_part(qcow2, request, skip, length, new->place + (offset - begin));
    }
    return result;
}

/* Everybody finds the new place, unless there was an error. */
static void show_clusters(Qcow2Writer *writer, NewClusters *new, int result)
{
    const unsigned bits = writer->qcow2->header.cluster_bits;

    for (uint64_t i = 0; i < new->count; i++) {
        const uint64_t place = new->place + (i << bits);

        if (result == 0) {
            set_entry(writer, new->table, new->index + i, place | QCOW2_COPIED);
        } else {
            block_qcow2_release(writer, place);
        }
    }
    block_qcow2_unpin(new->table);
    allocation_ends(writer, &new->allocation);
}

/*
 * Write from @offset on where it is not in place; less than @length bytes if something else
 * comes there. *@bytes: how many were written; 0 with success: look again at what is there. Under
 * the lock, which it releases meanwhile.
 */
static int write_new(Qcow2Writer *writer, const BlockRequest *request, uint64_t skip,
                     uint64_t offset, uint64_t length, uint64_t *bytes)
{
    BlockQcow2 *qcow2 = writer->qcow2;
    NewClusters new;
    Qcow2Run run;
    int result;

    *bytes = 0;
    if (first_under_way(writer, offset, offset + 1) == offset) {
        aio_co_queue_wait(&writer->allocated, &writer->lock);
        return 0;
    }
    result = block_qcow2_find(qcow2, offset, length, &run);
    if (result < 0 || (run.kind == QCOW2_KIND_DATA && run.copied)) {
        return result; /* somebody was faster */
    }
    result = take_clusters(writer, offset, length, &new);
    if (result < 0) {
        return result;
    }
    aio_co_mutex_unlock(&writer->lock);
    *bytes = MIN(length, new.end - offset);
    result = fill_clusters(qcow2, request, skip, offset, *bytes, &new);
    aio_co_mutex_lock(&writer->lock);
    show_clusters(writer, &new, result);
    return result;
}

/* Begin a change of tables. 0 with the writer's lock, or negative errno without it. */
static int lock_tables(Qcow2Writer *writer)
{
    int result = 0;

    aio_co_mutex_lock(&writer->lock);
    if (block_qcow2_cache_is_strained(writer->qcow2, writer->dirty_tables->len) ||
        writer->loaded->len > block_qcow2_blocks_limit(writer->qcow2)) {
        result = block_qcow2_commit(writer);
    }
    if (writer->failed) {
        result = -EIO;
    }
    if (result < 0) {
        aio_co_mutex_unlock(&writer->lock);
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

        result = block_qcow2_find(writer->qcow2, offset + done, length - done, &run);
        if (result < 0) {
            break;
        }
        if (run.kind == QCOW2_KIND_DATA && run.copied) {
            bytes = run.length;
            result = write_part(writer->qcow2, request, done, bytes, run.host_offset);
        } else if ((result = lock_tables(writer)) == 0) {
            result = write_new(writer, request, done, offset + done, length - done, &bytes);
            aio_co_mutex_unlock(&writer->lock);
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

/* A whole cluster that is not in place reads as zeros; *@done: it is so. Under the lock. */
static int mark_zero(Qcow2Writer *writer, uint64_t offset, bool *done)
{
    Qcow2Table *table;
    Qcow2Run run;
    int result;

    *done = false;
    if (first_under_way(writer, offset, offset + 1) == offset) {
        aio_co_queue_wait(&writer->allocated, &writer->lock);
        return 0;
    }
    result = block_qcow2_find(writer->qcow2, offset, 1, &run);
    if (result < 0 || (run.kind == QCOW2_KIND_DATA && run.copied)) {
        return result;
    }
    result = need_table(writer, offset, &table);
    if (result == 0) {
        set_entry(writer, table, qcow2_l2_index(writer->qcow2, offset), QCOW2_READS_ZERO);
        block_qcow2_unpin(table);
        *done = true;
    }
    return result;
}

/*
 * Make one cluster, or the part of it that is asked for, read as zeros. *@bytes: how many do; 0
 * with success: look again at what is there.
 */
static int zero_cluster(Qcow2Writer *writer, uint64_t offset, uint64_t length, uint64_t *bytes)
{
    const BlockQcow2 *qcow2 = writer->qcow2;
    const uint64_t size = qcow2_cluster_size(qcow2), inside = offset & (size - 1);
    const uint64_t whole = MIN(size, atomic_load(&writer->size) - (offset - inside));
    bool done = false;
    int result;

    *bytes = MIN(length, whole - inside);
    if (qcow2->header.version < 3 || *bytes < whole) {
        return write_zeros(writer, offset, *bytes);
    }
    result = lock_tables(writer);
    if (result == 0) {
        result = mark_zero(writer, offset, &done);
        aio_co_mutex_unlock(&writer->lock);
    }
    *bytes = done ? *bytes : 0;
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

        result = block_qcow2_find(qcow2, offset + done, length - done, &run);
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
 * goes on behind the end would show through. One at a time.
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
    result = lock_tables(writer);
    if (result < 0) {
        return result;
    }
    result = block_qcow2_grow_tables(writer, size);
    if (result == 0) {
        writer->size = size;
    }
    aio_co_mutex_unlock(&writer->lock);
    if (result == 0) {
        result = zero_range(writer, old, MIN(rest, size - old), 0, false);
    }
    aio_co_mutex_lock(&writer->lock);
    if (result == 0) {
        result = block_qcow2_write_size(writer, size);
    }
    if (result == 0) {
        qcow2->node.size = (int64_t)size;
    } else {
        writer->size = old;
    }
    aio_co_mutex_unlock(&writer->lock);
    return result;
}

static int change(Qcow2Writer *writer, BlockRequest *request)
{
    const uint64_t offset = (uint64_t)request->offset, length = request->length;
    int result;

    switch (request->op) {
    case BLOCK_WRITE:
        return write_range(writer, request, offset, length);
    case BLOCK_ZERO:
        return zero_range(writer, offset, length, request->flags, false);
    case BLOCK_DISCARD:
        return zero_range(writer, offset, length, BLOCK_MAY_UNMAP, true);
    case BLOCK_GROW:
        aio_co_mutex_lock(&writer->growing);
        result = grow(writer, offset);
        aio_co_mutex_unlock(&writer->growing);
        return result;
    default:
        return 0;
    }
}

static int prepare(Qcow2Writer *writer)
{
    int result = 0;

    if (atomic_load(&writer->failed)) {
        return -EIO;
    }
    if (atomic_load(&writer->qcow2->clears_features)) {
        aio_co_mutex_lock(&writer->lock);
        result = block_qcow2_clear_features(writer);
        aio_co_mutex_unlock(&writer->lock);
    }
    return result;
}

static void change_coroutine(void *opaque)
{
    BlockRequest *request = opaque;
    Qcow2Writer *writer = aio_container_of(request->node, BlockQcow2, node)->writer;
    const bool flush = request->op == BLOCK_FLUSH;
    int result = flush ? 0 : prepare(writer);

    if (result == 0) {
        result = change(writer, request);
    }
    if (result == 0 && (flush || request->flags & BLOCK_FUA)) {
        aio_co_mutex_lock(&writer->lock);
        result = block_qcow2_commit(writer);
        aio_co_mutex_unlock(&writer->lock);
    }
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
