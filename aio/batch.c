/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls deferred to the end of the outermost batch section. */
#include "aio/context-internal.h"

void aio_batch_flush(AioContext *ctx)
{
    /* What a deferred call defers is called in this loop, too. */
    for (unsigned i = 0; i < ctx->batch->len; i++) {
        AioBatchEntry entry = g_array_index(ctx->batch, AioBatchEntry, i);
        g_array_index(ctx->batch, AioBatchEntry, i) = (AioBatchEntry){0};
        if (entry.fn) {
            entry.fn(entry.opaque);
        }
    }
    g_array_set_size(ctx->batch, 0);
}

void aio_batch_begin(AioContext *ctx)
{
    g_assert(aio_context_is_home(ctx));
    ctx->batch_depth++;
}

void aio_batch_end(AioContext *ctx)
{
    g_assert(ctx->batch_depth > 0);
    if (ctx->batch_depth > 1) {
        ctx->batch_depth--;
        return;
    }
    aio_batch_flush(ctx);
    ctx->batch_depth = 0;
}

void aio_batch_defer(AioContext *ctx, AioBatchFn *fn, void *opaque)
{
    g_assert(aio_context_is_home(ctx));
    if (ctx->batch_depth == 0) {
        fn(opaque);
        return;
    }
    for (unsigned i = 0; i < ctx->batch->len; i++) {
        AioBatchEntry *entry = &g_array_index(ctx->batch, AioBatchEntry, i);
        if (entry->fn == fn && entry->opaque == opaque) {
            return;
        }
    }
    AioBatchEntry entry = {.fn = fn, .opaque = opaque};
    g_array_append_val(ctx->batch, entry);
}
