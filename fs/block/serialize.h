/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Order among the direct writes of a node whose edges share blocks.
 *
 * A write that does not fill its first or last block reads that block, changes
 * it and writes it back; nobody else may write to the block meanwhile.
 */
#ifndef SLUICE_FS_BLOCK_SERIALIZE_H
#define SLUICE_FS_BLOCK_SERIALIZE_H

#include <pthread.h>

#include "fs/block/node.h"

typedef struct BlockSerializer {
    pthread_mutex_t lock;
    BlockRequest *first, *last; /* writes under way or waiting, in order of arrival */
    unsigned exclusive;         /* of them that share blocks */
    unsigned block;             /* bytes, a power of two */
} BlockSerializer;

void block_serializer_init(BlockSerializer *serializer, unsigned block);
void block_serializer_fini(BlockSerializer *serializer);

/**
 * Call @go for @request, a write, zero or discard, as soon as no earlier one is
 * in its way: at once, or in a later turn of the calling thread's context.
 * It is under way until block_serializer_end().
 */
void block_serializer_begin(BlockSerializer *serializer, BlockRequest *request,
                            void (*go)(BlockRequest *request));

/** @request is done; those that waited for it go on, on their own threads. */
void block_serializer_end(BlockSerializer *serializer, BlockRequest *request);

#endif /* SLUICE_FS_BLOCK_SERIALIZE_H */
