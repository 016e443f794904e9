/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bottom halves.
 *
 * How it works: scheduling sets flags and, if the bottom half is not pending
 * yet, pushes it on the context's lock-free stack (any thread). A turn takes
 * the whole stack, turns it around and appends it to the home thread's queue;
 * then it calls one after the other until the queue is empty. What a callback
 * schedules goes to the stack and so waits for the next turn. A turn nested in
 * a callback first continues the queue of its parent, then its own.
 *
 * The flags decide at call time: CANCELled ones are skipped, DELETEd ones
 * freed. PENDING is cleared before the call, so that the callback may schedule
 * itself again; a deleted one is freed only by whoever takes it off the queue.
 *
 * The home thread may take a bottom half, find its work done and free the
 * context while the other thread is still about to notify. `schedulers` counts
 * such threads from before the push; the decrement is their last access to the
 * context, and aio_context_free() waits for it.
 */
#include <sched.h>

#include "aio/context-internal.h"

enum {
    BH_PENDING = 1u << 0,   /* on the stack or the queue */
    BH_SCHEDULED = 1u << 1, /* to be called */
    BH_DELETED = 1u << 2,   /* to be freed */
    BH_ONCE = 1u << 3,      /* to be freed after the call */
    BH_IDLE = 1u << 4,      /* no progress, within 10 ms */
};

#define BH_IDLE_NS (10 * 1000 * 1000)

struct AioBh {
    AioContext *ctx;
    AioBhFn *fn;
    void *opaque;
    _Atomic unsigned flags;
    AioBh *next;
};

AioBh *aio_bh_new(AioContext *ctx, AioBhFn *fn, void *opaque)
{
    AioBh *bh = g_new0(AioBh, 1);
    bh->ctx = ctx;
    bh->fn = fn;
    bh->opaque = opaque;
    return bh;
}

static void bh_enqueue(AioBh *bh, unsigned flags)
{
    AioContext *ctx = bh->ctx;
    bool remote = !aio_context_is_home(ctx);

    if (remote) {
        atomic_fetch_add_explicit(&ctx->schedulers, 1, memory_order_relaxed);
    }
    if (!(atomic_fetch_or(&bh->flags, flags | BH_PENDING) & BH_PENDING)) {
        AioBh *head = atomic_load_explicit(&ctx->bh_stack, memory_order_relaxed);
        do {
            bh->next = head;
        } while (!atomic_compare_exchange_weak_explicit(
            &ctx->bh_stack, &head, bh, memory_order_release, memory_order_relaxed));
    }
    /* The home thread computes its timeout from the queue before it sleeps. */
    if (remote) {
        aio_context_notify(ctx);
        atomic_fetch_sub_explicit(&ctx->schedulers, 1, memory_order_release);
    }
}

void aio_bh_schedule(AioBh *bh)
{
    /* An idle request that is still pending becomes an ordinary one. */
    atomic_fetch_and(&bh->flags, ~(unsigned)BH_IDLE);
    bh_enqueue(bh, BH_SCHEDULED);
}

void aio_bh_schedule_idle(AioBh *bh)
{
    g_assert(aio_context_is_home(bh->ctx));
    if (!(atomic_load(&bh->flags) & BH_SCHEDULED)) {
        bh_enqueue(bh, BH_SCHEDULED | BH_IDLE);
    }
}

void aio_bh_cancel(AioBh *bh)
{
    atomic_fetch_and(&bh->flags, ~(unsigned)BH_SCHEDULED);
}

void aio_bh_delete(AioBh *bh)
{
    bh_enqueue(bh, BH_DELETED);
}

void aio_bh_call_once(AioContext *ctx, AioBhFn *fn, void *opaque)
{
    bh_enqueue(aio_bh_new(ctx, fn, opaque), BH_SCHEDULED | BH_ONCE);
}

/* Move what was scheduled up to now to the home thread's queue, oldest first. */
static void bh_take(AioContext *ctx)
{
    AioBh *bh = atomic_exchange_explicit(&ctx->bh_stack, NULL, memory_order_acquire);
    AioBh *first = NULL, **tail = NULL;

    while (bh) {
        AioBh *next = bh->next;
        bh->next = first;
        if (!first) {
            tail = &bh->next;
        }
        first = bh;
        bh = next;
    }
    if (first) {
        *ctx->bh_tail = first;
        ctx->bh_tail = tail;
    }
}

static AioBh *bh_pop(AioContext *ctx)
{
    AioBh *bh = ctx->bh_first;
    if (bh) {
        ctx->bh_first = bh->next;
        if (!ctx->bh_first) {
            ctx->bh_tail = &ctx->bh_first;
        }
    }
    return bh;
}

bool aio_bh_run(AioContext *ctx)
{
    bool progress = false;
    AioBh *bh;

    if (atomic_load_explicit(&ctx->bh_stack, memory_order_relaxed)) {
        bh_take(ctx);
    }
    while ((bh = bh_pop(ctx))) {
        unsigned flags =
            atomic_fetch_and(&bh->flags, ~(unsigned)(BH_PENDING | BH_SCHEDULED | BH_IDLE));
        bool gone = flags & (BH_DELETED | BH_ONCE);

        if ((flags & BH_SCHEDULED) && !(flags & BH_DELETED)) {
            progress |= !(flags & BH_IDLE);
            aio_counter_add(&ctx->counters.bottom_halves, 1);
            bh->fn(bh->opaque);
        }
        if (gone) {
            g_free(bh);
        }
    }
    return progress;
}

static int64_t bh_list_timeout(AioBh *bh)
{
    int64_t timeout = -1;
    for (; bh; bh = bh->next) {
        unsigned flags = atomic_load_explicit(&bh->flags, memory_order_relaxed);
        if (!(flags & BH_IDLE) && (flags & (BH_SCHEDULED | BH_DELETED))) {
            return 0;
        }
        if (flags & BH_SCHEDULED) {
            timeout = BH_IDLE_NS;
        }
    }
    return timeout;
}

int64_t aio_bh_timeout(AioContext *ctx)
{
    if (!ctx->bh_first && !atomic_load_explicit(&ctx->bh_stack, memory_order_relaxed)) {
        return -1;
    }
    /* Only the home thread takes nodes away, so its walk of the stack is safe. */
    int64_t own = bh_list_timeout(ctx->bh_first);
    if (own == 0) {
        return 0;
    }
    int64_t stack = bh_list_timeout(atomic_load_explicit(&ctx->bh_stack, memory_order_acquire));
    return stack == 0 || own < 0 ? stack : own;
}

void aio_bh_wait_schedulers(AioContext *ctx)
{
    while (atomic_load_explicit(&ctx->schedulers, memory_order_acquire) > 0) {
        sched_yield();
    }
}

void aio_bh_free_all(AioContext *ctx)
{
    AioBh *bh;

    bh_take(ctx);
    while ((bh = bh_pop(ctx))) {
        unsigned flags = atomic_fetch_and(&bh->flags, ~(unsigned)(BH_PENDING | BH_SCHEDULED));
        if (flags & (BH_DELETED | BH_ONCE)) {
            g_free(bh);
        }
    }
}
