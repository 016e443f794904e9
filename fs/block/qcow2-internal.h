/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inside of a qcow2 node.
 *
 * How it works: a disk's clusters are found by two levels of tables. The first
 * (L1) is in memory from the beginning. A table of the second level (L2) is
 * read when it is first needed and stays: 8 bytes for each cluster of the part of
 * the disk that is used. Entries are read without a lock, by any worker.
 */
#ifndef SLUICE_FS_BLOCK_QCOW2_INTERNAL_H
#define SLUICE_FS_BLOCK_QCOW2_INTERNAL_H

#include "aio/pool.h"
#include "fs/block/node.h"
#include "fs/block/qcow2-header.h"

#define QCOW2_COPIED     (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_READS_ZERO UINT64_C(1)
#define QCOW2_OFFSET     UINT64_C(0x00fffffffffffe00)

/** A table of the second level; entries as they are in the file (big-endian). */
typedef struct Qcow2Table {
    uint64_t offset; /**< in the file */
    _Atomic(uint64_t) entries[];
} Qcow2Table;

typedef struct BlockQcow2 {
    BlockNode node;
    BlockNode *file;    /* referenced */
    BlockNode *backing; /* referenced; NULL: zeros */
    Qcow2Header header;
    unsigned l2_bits; /* a table of the second level has 1 << this entries */
    uint64_t *l1;     /* host order */
    _Atomic(Qcow2Table *) *l2;
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
    uint64_t host_offset;
    uint64_t length; /**< bytes from the offset asked for */
    uint64_t entry;  /**< of a compressed cluster */
} Qcow2Run;

static inline uint64_t qcow2_cluster_size(const BlockQcow2 *qcow2)
{
    return UINT64_C(1) << qcow2->header.cluster_bits;
}

/**
 * What is at @offset, for at most @length bytes and within one table. -EAGAIN: its table must be
 * read first; -EIO: an entry makes no sense. Any thread, no wait.
 */
int block_qcow2_map(const BlockQcow2 *qcow2, uint64_t offset, uint64_t length, Qcow2Run *run);

/** Read the table of @offset. In a coroutine. 0 or negative errno. */
int block_qcow2_load(BlockQcow2 *qcow2, uint64_t offset);

/** Read what is not one run of data. Ends with block_complete(). */
void block_qcow2_read_scattered(BlockQcow2 *qcow2, BlockRequest *request);

/** Answer BLOCK_STATUS. Ends with block_complete(). */
void block_qcow2_status(BlockQcow2 *qcow2, BlockRequest *request);

/** Where in the file a compressed cluster's bytes are; false: at a place that cannot be. */
bool block_qcow2_compressed_place(const BlockQcow2 *qcow2, uint64_t entry, uint64_t *offset,
                                  uint64_t *length);

#endif /* SLUICE_FS_BLOCK_QCOW2_INTERNAL_H */
