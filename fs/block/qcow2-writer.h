/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What a writable qcow2 image needs beside its tables: refcounts, new clusters, and
 * the order in which changes reach the file.
 *
 * How it works
 *
 * All functions run in a coroutine that holds the writer's lock, which is also held during I/O
 * by a commit, but not while data is written to new clusters (qcow2-write.c). Changes of tables and
 * refcounts are made in memory; block_qcow2_commit() writes them, in an order that
 * leaves nothing worse than unused clusters that count as used, wherever it stops:
 *
 *     data, refcounts | refcount table | (header) | L2 tables | L1 table
 *                     ^ flush          ^          ^           ^ and at the end
 *
 * New clusters are always taken behind the end of the file. A cluster that is not
 * needed any more loses its refcount when the commit that made it unneeded is durable (the file
 * learns it with the next, at the latest), and is not used again as long as the image is open:
 * reads that are under way may still look at it.
 */
#ifndef SLUICE_FS_BLOCK_QCOW2_WRITER_H
#define SLUICE_FS_BLOCK_QCOW2_WRITER_H

#include "fs/block/qcow2-internal.h"

typedef struct Qcow2Allocation Qcow2Allocation;

struct Qcow2Writer {
    BlockQcow2 *qcow2;
    AioCoMutex lock;
    AioCoMutex growing;     /* one at a time; taken before the lock */
    _Atomic(uint64_t) size; /* of the disk, bytes; while it grows more than the node's */
    _Atomic(bool) dirty;
    /* What was written is not known any more: nothing is, from now on. Set under the lock. */
    _Atomic(bool) failed;
    Qcow2Allocation *allocations; /* under way */
    AioCoQueue allocated;         /* one of them is not any more */
    uint64_t next_cluster;        /* the first behind all that are used */
    bool grown;                   /* the file has become longer */

    uint64_t table_offset;           /* of the refcount table */
    uint64_t table_entries;          /* 64 bits each */
    uint64_t *table;                 /* host order: places of the blocks */
    uint8_t **blocks;                /* as in the file; NULL: not read yet */
    uint8_t *block_dirty;            /* bool for each block */
    uint8_t *block_used;             /* the same: since the clock's hand was here */
    GArray *loaded;                  /* of uint64_t: indexes of the blocks in memory */
    guint hand;                      /* of the clock: a place in loaded */
    uint64_t table_first, table_end; /* entries that the file does not have yet */
    bool table_moved;                /* the header does not know the table yet */
    bool block_added;                /* a block that the table in the file does not know */
    uint64_t l1_first, l1_end;       /* the same for the L1 table */
    GPtrArray *dirty_tables;         /* of Qcow2Table, each with a pin */
    GArray *unneeded; /* of uint64_t: clusters used once less after the next commit */
};

/**
 * So many blocks of refcounts are kept in memory: 4 MiB, for 128 GiB with clusters of 64 KiB. More
 * only between a change that needs them and the commit that comes before the next change.
 */
static inline guint block_qcow2_blocks_limit(const BlockQcow2 *qcow2)
{
    return MAX(4u, (4u * 1024 * 1024) >> qcow2->header.cluster_bits);
}

/** @count clusters next to each other, with refcount 1. 0 or negative errno. */
int block_qcow2_allocate(Qcow2Writer *writer, uint64_t count, uint64_t *offset);

/** The cluster at @offset of the file is used once less, from the next commit on. */
void block_qcow2_release(Qcow2Writer *writer, uint64_t offset);

/**
 * Give back blocks of refcounts that nobody has looked at for a while (a clock, as in
 * qcow2-cache.c), until there are @limit. Those that the file does not have yet stay.
 */
void block_qcow2_keep_blocks(Qcow2Writer *writer, guint limit);

/** Take one from the refcount of a cluster, in memory. 0 or negative errno. */
int block_qcow2_decrement(Qcow2Writer *writer, uint64_t cluster);

/** Put a refcount of 1 << @order bits into a block, as it is in the file. */
void block_qcow2_store_refcount(uint8_t *block, unsigned order, uint64_t index, uint64_t value);

/**
 * Rebuild the refcounts of an image with the dirty bit, and clear that. Before any worker runs. An
 * error says why it cannot be done; then the file is as it was, or dirty still.
 */
bool block_qcow2_repair(BlockQcow2 *qcow2, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Entry @index of @table, which is pinned, has changed. */
void block_qcow2_touch(Qcow2Writer *writer, Qcow2Table *table, uint64_t index);

/**
 * Clear, durably, the features that we do not keep up to date; before the first change of the disk.
 * 0 or negative errno.
 */
int block_qcow2_clear_features(Qcow2Writer *writer);

/**
 * Make the L1 table as large as a disk of @size bytes needs, durably: the disk keeps its size.
 * 0 or negative errno.
 */
int block_qcow2_grow_tables(Qcow2Writer *writer, uint64_t size);

/** Write everything, then the disk's size, and make both durable. 0 or negative errno. */
int block_qcow2_write_size(Qcow2Writer *writer, uint64_t size);

/** Write everything and make it durable. 0 or negative errno. */
int block_qcow2_commit(Qcow2Writer *writer);

#endif /* SLUICE_FS_BLOCK_QCOW2_WRITER_H */
