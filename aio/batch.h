/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Batch sections: calls deferred to the end of the outermost section, so that
 * requests issued together reach the kernel together. Home thread. Every turn
 * dispatches inside a section.
 */
#ifndef SLUICE_AIO_BATCH_H
#define SLUICE_AIO_BATCH_H

#include "aio/context.h"

typedef void AioBatchFn(void *opaque);

void aio_batch_begin(AioContext *ctx);
void aio_batch_end(AioContext *ctx);

/**
 * Call @fn(@opaque) when the outermost section ends, or at once outside of
 * any. The same pair deferred twice is called once.
 */
void aio_batch_defer(AioContext *ctx, AioBatchFn *fn, void *opaque);

#endif /* SLUICE_AIO_BATCH_H */
