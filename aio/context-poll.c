/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Busy polling of a context: who is polled, the spin, leaving poll mode.
 *
 * How it works
 *
 * A handler with a poll check is enrolled when its descriptor becomes ready
 * and leaves after AIO_POLL_IDLE_NS without success. While the context is in
 * poll mode (poll_begin callbacks ran), producers may skip signalling;
 * therefore poll mode ends before a wait that can sleep, and each handler is
 * asked once more after its poll_end, which catches what raced with it.
 *
 * One iteration of the spin asks: the ring (CQ, task-run and overflow flags),
 * the wake-up flag, every polled handler. None of it enters the kernel or
 * takes a lock; the clock is read once per iteration. The whole spin counts as
 * one walk of the handlers, so none can be freed under it.
 *
 * A spin that did not find work, or lost the CPU on the way, may mean that others want the CPU,
 * whoever should give the work among them: see AioPollAccount.
 *
 * Monitors other than io_uring do not show readiness in memory: they spin only
 * if every handler has a poll check.
 */
#include "aio/context-internal.h"
#include "aio/ring-internal.h"

#define POLLED_LINK offsetof(AioHandler, polled_link)

static AioHandler *polled_next(AioHandler *handler)
{
    return handler->polled_link.next;
}

static bool polled_is_deleted(AioHandler *handler)
{
    return atomic_load_explicit(&handler->deleted, memory_order_acquire);
}

void aio_context_set_poll_params(AioContext *ctx, const AioPollParams *params)
{
    g_assert(aio_poll_params_valid(params));
    pthread_mutex_lock(&ctx->poll_params_lock);
    ctx->poll_params = *params;
    pthread_mutex_unlock(&ctx->poll_params_lock);
    atomic_fetch_add(&ctx->poll_params_version, 1);
    aio_context_notify(ctx);
}

void aio_context_get_poll_params(AioContext *ctx, AioPollParams *params)
{
    pthread_mutex_lock(&ctx->poll_params_lock);
    *params = ctx->poll_params;
    pthread_mutex_unlock(&ctx->poll_params_lock);
}

void aio_context_load_poll_params(AioContext *ctx)
{
    unsigned version = atomic_load_explicit(&ctx->poll_params_version, memory_order_acquire);
    if (version != ctx->poll_version) {
        aio_context_get_poll_params(ctx, &ctx->poll);
        ctx->poll_version = version;
        ctx->poll_ns = 0;
        ctx->ring_node = (AioPollNode){0};
        ctx->poll_account = (AioPollAccount){0};
        for (AioHandler *h = ctx->polled.first; h; h = polled_next(h)) {
            h->poll_node = (AioPollNode){0};
        }
    }
}

void aio_context_poll_enrol(AioContext *ctx, AioHandler *handler)
{
    if (!handler->ops.poll || handler->polled_link.pprev || polled_is_deleted(handler) ||
        ctx->poll.max_ns == 0 || ctx->poll_scope == AIO_POLL_NOTHING) {
        return;
    }
    handler->idle_deadline_ns = ctx->clock_ns() + AIO_POLL_IDLE_NS;
    aio_handler_list_append(&ctx->polled, handler, POLLED_LINK);
    if (ctx->poll_started && handler->ops.poll_begin) {
        handler->ops.poll_begin(handler->opaque);
    }
}

static void poll_start(AioContext *ctx)
{
    if (ctx->poll_started) {
        return;
    }
    ctx->poll_started = true;
    ctx->walking++;
    for (AioHandler *h = ctx->polled.first; h; h = polled_next(h)) {
        if (!polled_is_deleted(h) && h->ops.poll_begin) {
            h->ops.poll_begin(h->opaque);
        }
    }
    ctx->walking--;
}

/* poll_end and one more look, for an event that raced with it. */
static bool handler_poll_end(AioHandler *handler)
{
    if (polled_is_deleted(handler)) {
        return false;
    }
    if (handler->ops.poll_end) {
        handler->ops.poll_end(handler->opaque);
    }
    if (polled_is_deleted(handler) || !handler->ops.poll(handler->opaque)) {
        return false;
    }
    aio_handler_set_ready(handler, 0, true);
    return true;
}

bool aio_context_poll_stop(AioContext *ctx)
{
    bool found = false;

    if (!ctx->poll_started) {
        return false;
    }
    ctx->poll_started = false;
    ctx->walking++;
    for (AioHandler *h = ctx->polled.first; h; h = polled_next(h)) {
        found |= handler_poll_end(h);
    }
    ctx->walking--;
    return found;
}

bool aio_context_sweep(AioContext *ctx, int64_t now_ns)
{
    bool found = false;

    ctx->walking++;
    for (AioHandler *h = ctx->polled.first; h; h = polled_next(h)) {
        if (!polled_is_deleted(h) && h->ops.poll(h->opaque)) {
            aio_handler_set_ready(h, 0, true);
            h->idle_deadline_ns = now_ns + AIO_POLL_IDLE_NS;
            found |= h->fd != ctx->notify_fd;
        }
    }
    ctx->walking--;
    return found;
}

/* Drop the handlers that had nothing to say for a long time. */
static bool poll_remove_idle(AioContext *ctx, int64_t now_ns)
{
    bool found = false;
    AioHandler *next;

    ctx->walking++;
    for (AioHandler *h = ctx->polled.first; h; h = next) {
        next = polled_next(h);
        if (now_ns < h->idle_deadline_ns) {
            continue;
        }
        aio_handler_list_remove(&ctx->polled, h, POLLED_LINK);
        h->poll_node = (AioPollNode){0};
        if (ctx->poll_started) {
            found |= handler_poll_end(h);
        }
    }
    ctx->walking--;
    return found;
}

static bool spin_is_useful(AioContext *ctx)
{
    return ctx->monitor->sees_all ||
           atomic_load_explicit(&ctx->unpolled_handlers, memory_order_relaxed) == 0;
}

void aio_context_set_poll_scope(AioContext *ctx, AioPollScope scope)
{
    ctx->poll_scope = scope;
}

bool aio_context_may_spin(AioContext *ctx)
{
    switch (ctx->poll_scope) {
    case AIO_POLL_ANYTHING:
        return ctx->poll.max_ns > 0;
    case AIO_POLL_RING_WORK:
        return ctx->poll.max_ns > 0 && ctx->ring && aio_ring_is_working(ctx->ring);
    default:
        return false;
    }
}

bool aio_context_spin(AioContext *ctx, int64_t *timeout_ns)
{
    int64_t spin_ns = ctx->poll_ns;

    if (*timeout_ns == 0 || spin_ns == 0 || !spin_is_useful(ctx)) {
        return false;
    }
    if (*timeout_ns > 0 && *timeout_ns < spin_ns) {
        spin_ns = *timeout_ns;
    }

    int64_t start_ns = ctx->clock_ns(), now_ns = start_ns, gap_ns = 0;
    if (!aio_poll_account_open(&ctx->poll_account, start_ns)) {
        return false;
    }
    poll_start(ctx);
    ctx->monitor->arm(ctx);
    ctx->walking++;

    bool found = false, told = false;
    do {
        int64_t before_ns = now_ns;
        found = aio_context_sweep(ctx, now_ns);
        if (ctx->ring && aio_ring_has_completions(ctx->ring)) {
            found = true;
        }
        told = atomic_load_explicit(&ctx->notified, memory_order_acquire);
        now_ns = ctx->clock_ns();
        gap_ns = MAX(gap_ns, now_ns - before_ns);
    } while (!found && !told && !ctx->monitor->needs_wait(ctx) && now_ns - start_ns < spin_ns);

    /* or the monitor has seen it first, while the clock was read */
    found |= ctx->ring && aio_ring_has_completions(ctx->ring);

    found |= poll_remove_idle(ctx, now_ns);
    ctx->walking--;

    const int64_t elapsed_ns = now_ns - start_ns;
    const bool preempted = gap_ns > AIO_POLL_GAP_NS;
    /* who runs behind others is preempted by whoever wants the CPU, and takes nothing from them */
    const bool behind = ctx->poll_scope != AIO_POLL_ANYTHING;
    const int64_t spent_ns = preempted && behind ? elapsed_ns - gap_ns : elapsed_ns;
    aio_counter_add(&ctx->counters.poll_ns, spent_ns);
    if (found || told) {
        aio_counter_add(&ctx->counters.poll_hits, 1);
        *timeout_ns = 0;
    } else {
        aio_counter_add(&ctx->counters.poll_misses, 1);
        if (*timeout_ns > 0) {
            *timeout_ns -= MIN(*timeout_ns, elapsed_ns);
        }
    }
    aio_counter_add(&ctx->counters.poll_preempted, preempted);
    if (aio_poll_account_add(&ctx->poll_account, &ctx->poll, now_ns, spent_ns, found || told,
                             preempted && !behind)) {
        aio_counter_add(&ctx->counters.poll_pauses, 1);
    }
    return found;
}

void aio_context_poll_adapt(AioContext *ctx, int64_t block_ns)
{
    AioPollChange change;

    if (ctx->poll.rule == AIO_POLL_CLASSIC) {
        change = aio_poll_adapt_classic(&ctx->poll, block_ns, &ctx->poll_ns);
    } else {
        int64_t largest_ns = 0;
        for (AioHandler *h = ctx->polled.first; h; h = polled_next(h)) {
            if (h->active) {
                aio_poll_node_active(&h->poll_node, &ctx->poll, block_ns);
                largest_ns = MAX(largest_ns, h->poll_node.value_ns);
            } else {
                aio_poll_node_idle(&h->poll_node, &ctx->poll, block_ns);
            }
            h->active = false;
        }
        if (ctx->ring_active) {
            aio_poll_node_active(&ctx->ring_node, &ctx->poll, block_ns);
            largest_ns = MAX(largest_ns, ctx->ring_node.value_ns);
        } else {
            aio_poll_node_idle(&ctx->ring_node, &ctx->poll, block_ns);
        }
        change = aio_poll_adapt_weighted(&ctx->poll, largest_ns, &ctx->poll_ns);
    }
    ctx->ring_active = false;
    if (change == AIO_POLL_GROWN) {
        aio_counter_add(&ctx->counters.poll_grown, 1);
    } else if (change == AIO_POLL_SHRUNK) {
        aio_counter_add(&ctx->counters.poll_shrunk, 1);
    }
}
