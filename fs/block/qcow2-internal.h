/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inside of a qcow2 node.
 *
 * How it works: a disk's clusters are found by two levels of tables. The first
 * (L1) is in memory from the beginning. A table of the second level (L2) is
 * read when it is needed, and stays while there is room (qcow2-cache.c). Entries are read without a
 * lock, by any worker.
 */
#ifndef SLUICE_FS_BLOCK_QCOW2_INTERNAL_H
#define SLUICE_FS_BLOCK_QCOW2_INTERNAL_H

#include "aio/coroutine-lock.h"
#include "aio/pool.h"
#include "fs/block/node.h"
#include "fs/block/qcow2-header.h"

#define QCOW2_COPIED     (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_READS_ZERO UINT64_C(1)
#define QCOW2_OFFSET     UINT64_C(0x00fffffffffffe00)

typedef struct Qcow2Writer Qcow2Writer;

/** A table of the second level; entries as they are in the file (big-endian). */
typedef struct Qcow2Table {
    _Atomic(uint64_t) generation; /**< changes when the slot gets another table */
    _Atomic(bool) used;           /**< since the clock's hand was here */
    _Atomic(unsigned) pins;       /**< not 0: it stays */
    uint64_t l1;                  /**< which; under the cache's lock */
    uint64_t offset;              /**< in the file */
    size_t first, end; /**< entries that the file does not have yet; under the writer's lock */
    _Atomic(uint64_t) entries[];
} Qcow2Table;

typedef struct Qcow2Load Qcow2Load;

/** The tables that are in memory. */
typedef struct Qcow2Cache {
    AioCoMutex lock;   /* of the fields below; never held during I/O */
    AioCoQueue loaded; /* a table has been read, or not */
    Qcow2Load *loads;
    GPtrArray *slots; /* of Qcow2Table */
    size_t limit;     /* so many, if not all are pinned */
    size_t hand;      /* of the clock */
} Qcow2Cache;

typedef struct BlockQcow2 {
    BlockNode node;
    BlockNode *file;    /* referenced */
    BlockNode *backing; /* referenced; NULL: zeros */
    Qcow2Header header;
    unsigned l2_bits;          /* a table of the second level has 1 << this entries */
    size_t l1_room;            /* numbers that l1 and l2 have room for */
    _Atomic(uint64_t) *l1;     /* places of the tables, host order */
    _Atomic(Qcow2Table *) *l2; /* those in memory */
    Qcow2Cache cache;
    _Atomic(uint64_t) file_end; /* bytes of the file; behind it there are zeros */
    /* Features that we do not keep up to date (bitmaps) are announced still: nothing may change. */
    _Atomic(bool) clears_features;
    Qcow2Writer *writer; /* NULL: read-only */
} BlockQcow2;

typedef enum Qcow2Kind {
    QCOW2_KIND_DATA,       /**< at host_offset */
    QCOW2_KIND_ZERO,       /**< reads as zeros */
    QCOW2_KIND_BELOW,      /**< not here: in the backing file, or zeros */
    QCOW2_KIND_COMPRESSED, /**< one cluster; see entry */
} Qcow2Kind;

/** Bytes that follow each other on the disk and, if they are data, in the file. */
typedef struct Qcow2Run {
    Qcow2Kind kind;
    bool copied; /**< data: used by nobody else, so it may be written in place */
    uint64_t host_offset;
    uint64_t length; /**< bytes from the offset asked for */
    uint64_t entry;  /**< of the first cluster, host order */
} Qcow2Run;

static inline uint64_t qcow2_cluster_size(const BlockQcow2 *qcow2)
{
    return UINT64_C(1) << qcow2->header.cluster_bits;
}

/** How many clusters @bytes take. */
static inline uint64_t qcow2_clusters_of(const BlockQcow2 *qcow2, uint64_t bytes)
{
    return (bytes + qcow2_cluster_size(qcow2) - 1) >> qcow2->header.cluster_bits;
}

/**
 * What is at @offset, for at most @length bytes and within one table. -EAGAIN: its table must be
 * read first; -EIO: an entry makes no sense. Any thread, no wait.
 */
int block_qcow2_map(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run);

/** The same in a coroutine, which reads the table if it must. */
int block_qcow2_find(BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run);

/** Keep at most @bytes of tables in memory (a few tables at least). */
void block_qcow2_cache_init(BlockQcow2 *qcow2, uint64_t bytes);
void block_qcow2_cache_fini(BlockQcow2 *qcow2);

/** Whether @pinned tables with changes are too many. */
bool block_qcow2_cache_is_strained(const BlockQcow2 *qcow2, size_t pinned);

/** Read the table of @offset; it may be gone again at once. In a coroutine. 0 or negative errno. */
int block_qcow2_load(BlockQcow2 *qcow2, uint64_t offset);

/**
 * The table of @offset, which stays until the pin is taken away. In a coroutine. 0 or
 * negative errno.
 */
int block_qcow2_pin(BlockQcow2 *qcow2, uint64_t offset, Qcow2Table **table);

/** Another pin, for one that has one. Any thread. */
static inline void block_qcow2_pin_again(Qcow2Table *table)
{
    atomic_fetch_add_explicit(&table->pins, 1, memory_order_relaxed);
}
void block_qcow2_unpin(Qcow2Table *table);

/**
 * A new, empty table for the index @l1, which has none, at @place of the file; pinned. In a
 * coroutine. NULL: no memory.
 */
Qcow2Table *block_qcow2_add_table(BlockQcow2 *qcow2, uint64_t l1, uint64_t place);

static inline uint64_t qcow2_l1_index(const BlockQcow2 *qcow2, uint64_t offset)
{
    return offset >> (qcow2->header.cluster_bits + qcow2->l2_bits);
}

static inline uint64_t qcow2_l2_index(const BlockQcow2 *qcow2, uint64_t offset)
{
    return offset >> qcow2->header.cluster_bits & ((UINT64_C(1) << qcow2->l2_bits) - 1);
}

/** Whether a range lies in the file. Any thread. */
bool block_qcow2_is_in_file(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length);

/** Read what is not one run of data. Ends with block_complete(). */
void block_qcow2_read_scattered(BlockQcow2 *qcow2, BlockRequest *request);

/** Answer BLOCK_STATUS. Ends with block_complete(). */
void block_qcow2_status(BlockQcow2 *qcow2, BlockRequest *request);

/** Where in the file a compressed cluster's bytes are; false: at a place that cannot be. */
bool block_qcow2_compressed_place(const BlockQcow2 *qcow2, uint64_t entry, uint64_t *offset,
                                  uint64_t *length);

/** Write, zero, discard and flush where that is not one run in place. End with block_complete(). */
void block_qcow2_change(BlockQcow2 *qcow2, BlockRequest *request);

/** Make the image writable; before any worker runs. */
bool block_qcow2_writer_new(BlockQcow2 *qcow2, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/** Write everything back, and cut what the file has grown too much. No worker runs any more. */
void block_qcow2_writer_close(Qcow2Writer *writer);
void block_qcow2_writer_free(Qcow2Writer *writer);

/** Whether something has changed that the file does not know yet. Any thread. */
bool block_qcow2_is_dirty(const BlockQcow2 *qcow2);

#endif /* SLUICE_FS_BLOCK_QCOW2_INTERNAL_H */
