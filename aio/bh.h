/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Bottom halves: calls that a context makes in its next turn. */
#ifndef SLUICE_AIO_BH_H
#define SLUICE_AIO_BH_H

#include "aio/context.h"

typedef struct AioBh AioBh;
typedef void AioBhFn(void *opaque);

/** Create a bottom half of @ctx; not scheduled yet. Any thread. */
AioBh *aio_bh_new(AioContext *ctx, AioBhFn *fn, void *opaque);

/** Call it in the next turn; once, however often scheduled. Any thread. */
void aio_bh_schedule(AioBh *bh);

/** As aio_bh_schedule(), but no progress and only within 10 ms. Home thread. */
void aio_bh_schedule_idle(AioBh *bh);

/** Forget a pending call. The bottom half stays usable. Any thread. */
void aio_bh_cancel(AioBh *bh);

/** Free it; the home thread does so in a later turn. Any thread, also its own callback. */
void aio_bh_delete(AioBh *bh);

/** Call @fn once in the next turn of @ctx. Any thread. */
void aio_bh_call_once(AioContext *ctx, AioBhFn *fn, void *opaque);

#endif /* SLUICE_AIO_BH_H */
