/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a context and one turn of its loop.
 *
 * How it works
 *
 * A turn: find out how long it may sleep; spin, if polling is on; announce
 * that it may sleep, look once more for wake-ups, wait in the monitor, take
 * the announcement back; note wake-ups; adapt the poll time; dispatch.
 *
 * Only steps that can sleep announce themselves, so a busy loop is woken
 * without system calls. Everything the home thread itself does between turns
 * (scheduling bottom halves, queueing SQEs, changing handlers) is found when
 * the next turn computes its timeout.
 *
 * Turns nest: all lists that dispatch consumes belong to the context, are
 * popped one element at a time, and are continued by a nested turn.
 */
#include "aio/context-internal.h"

#include <errno.h>
#include <time.h>

#include "aio/error.h"
#include "aio/inbox.h"
#include "aio/ring-internal.h"

static _Thread_local AioContext *current_context;

int64_t aio_clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static uint64_t count_enters(const AioContext *ctx)
{
    return atomic_load_explicit(&ctx->counters.enters, memory_order_relaxed);
}

int64_t aio_context_read_clock(AioContext *ctx)
{
    ctx->now_ns = aio_clock_ns();
    ctx->now_marks = AIO_SHARED_READINGS - 1;
    ctx->now_enters = count_enters(ctx);
    return ctx->now_ns;
}

int64_t aio_context_now(AioContext *ctx)
{
    if (ctx->now_marks == 0 || ctx->now_enters != count_enters(ctx)) {
        return aio_context_read_clock(ctx);
    }
    ctx->now_marks--;
    return ctx->now_ns;
}

void aio_context_time_passed(AioContext *ctx)
{
    ctx->now_marks = 0;
}

void aio_context_params_init(AioContextParams *params)
{
    *params = (AioContextParams){.name = "context", .monitor = AIO_MONITOR_AUTO};
    aio_poll_params_init(&params->poll);
}

const char *aio_monitor_kind_name(AioMonitorKind kind)
{
    switch (kind) {
    case AIO_MONITOR_AUTO:
        return "auto";
    case AIO_MONITOR_URING:
        return "io_uring";
    case AIO_MONITOR_EPOLL:
        return "epoll";
    case AIO_MONITOR_POLL:
        return "poll";
    }
    g_assert_not_reached();
}

/* A ring if the parameters want one; its absence is an error only if demanded. */
static bool context_open_ring(AioContext *ctx, const AioContextParams *params, GError **error)
{
    GError *cause = NULL;

    if (params->monitor != AIO_MONITOR_AUTO && params->monitor != AIO_MONITOR_URING) {
        return true;
    }
    ctx->ring = aio_ring_new(&params->ring, &cause);
    if (ctx->ring) {
        ctx->ring->counters = &ctx->counters;
        ctx->ring->home = ctx;
        return true;
    }
    if (params->monitor == AIO_MONITOR_URING) {
        g_propagate_error(error, cause);
        return false;
    }
    ctx->fallback_reason = g_strdup(cause->message);
    g_error_free(cause);
    return true;
}

static bool context_open_monitor(AioContext *ctx, AioMonitorKind wanted, GError **error)
{
    if (ctx->ring) {
        ctx->monitor = &aio_monitor_uring;
        return ctx->monitor->init(ctx, error);
    }
    if (wanted != AIO_MONITOR_POLL) {
        ctx->monitor = &aio_monitor_epoll;
        if (ctx->monitor->init(ctx, wanted == AIO_MONITOR_EPOLL ? error : NULL)) {
            return true;
        }
        if (wanted == AIO_MONITOR_EPOLL) {
            return false;
        }
    }
    ctx->monitor = &aio_monitor_poll;
    return ctx->monitor->init(ctx, error);
}

/* What was made before the failure; the monitor only if it is open. */
static void context_release(AioContext *ctx)
{
    aio_ring_free(ctx->ring);
    g_hash_table_unref(ctx->handlers_by_fd);
    g_ptr_array_unref(ctx->timers);
    g_array_unref(ctx->batch);
    pthread_mutex_destroy(&ctx->handlers_lock);
    pthread_mutex_destroy(&ctx->poll_params_lock);
    g_free(ctx->fallback_reason);
    g_free(ctx->name);
    g_free(ctx);
}

AioContext *aio_context_new(const AioContextParams *params, GError **error)
{
    g_assert(!current_context);
    g_assert(aio_poll_params_valid(&params->poll));

    AioContext *ctx = g_new0(AioContext, 1);
    ctx->name = g_strdup(params->name ? params->name : "context");
    ctx->notify_fd = -1;
    ctx->epoll_fd = -1;
    ctx->handlers_by_fd = g_hash_table_new(NULL, NULL);
    ctx->timers = g_ptr_array_new();
    g_ptr_array_add(ctx->timers, NULL); /* the heap starts at 1 */
    ctx->batch = g_array_new(FALSE, FALSE, sizeof(AioBatchEntry));
    ctx->bh_tail = &ctx->bh_first;
    ctx->clock_ns = aio_clock_ns;
    aio_deadlines_init(ctx);
    ctx->poll_params = params->poll;
    ctx->poll = params->poll;
    ctx->poll_scope = params->poll.scope;
    pthread_mutex_init(&ctx->handlers_lock, NULL);
    pthread_mutex_init(&ctx->poll_params_lock, NULL);
    aio_handler_list_init(&ctx->ready);
    aio_handler_list_init(&ctx->polled);
    current_context = ctx;

    if (!context_open_ring(ctx, params, error) ||
        !context_open_monitor(ctx, params->monitor, error)) {
        g_prefix_error(error, "event loop '%s': ", ctx->name);
        current_context = NULL;
        context_release(ctx);
        return NULL;
    }
    if (!aio_notifier_init(ctx, error)) {
        g_prefix_error(error, "event loop '%s': ", ctx->name);
        ctx->monitor->fini(ctx);
        current_context = NULL;
        context_release(ctx);
        return NULL;
    }
    aio_context_set_max_batch(ctx, params->max_batch);
    ctx->inbox = aio_inbox_new(ctx);
    return ctx;
}

/* Turn until requests and helper work are done; the done() of one may start another. */
static void context_drain(AioContext *ctx)
{
    aio_inbox_drain(ctx->inbox);
    while (ctx->io_state) {
        ctx->io_state_free(ctx->io_state);
        ctx->io_state = NULL;
        aio_inbox_drain(ctx->inbox);
    }
}

void aio_context_free(AioContext *ctx)
{
    if (!ctx) {
        return;
    }
    g_assert(aio_context_is_home(ctx) && ctx->depth == 0);

    context_drain(ctx);
    aio_bh_wait_schedulers(ctx);
    aio_inbox_free(ctx->inbox);
    /* Completion callbacks may need the loop, so let it turn while users wait. */
    aio_notifier_fini(ctx);
    aio_handlers_remove_all(ctx);
    if (ctx->ring) {
        ctx->monitor->arm(ctx);
        ctx->monitor->fini(ctx);
        while (!aio_ring_is_drained(ctx->ring)) {
            if (!aio_ring_is_ready(ctx->ring)) {
                (void)aio_ring_wait(ctx->ring, -1);
            }
            aio_ring_dispatch(ctx->ring);
        }
    }
    aio_handlers_free_deleted(ctx);
    g_assert(!ctx->deleted_handlers);
    if (!ctx->ring) {
        ctx->monitor->fini(ctx);
    }
    aio_bh_free_all(ctx);
    g_assert(ctx->timers->len == 1);
    current_context = NULL;
    context_release(ctx);
}

AioContext *aio_context_current(void)
{
    return current_context;
}

bool aio_context_is_home(const AioContext *ctx)
{
    return current_context == ctx;
}

const char *aio_context_name(const AioContext *ctx)
{
    return ctx->name;
}

AioMonitorKind aio_context_monitor(const AioContext *ctx)
{
    return ctx->monitor->kind;
}

const char *aio_context_fallback_reason(const AioContext *ctx)
{
    return ctx->fallback_reason;
}

AioRing *aio_context_ring(AioContext *ctx)
{
    return ctx->ring;
}

AioCounters *aio_context_counters(AioContext *ctx)
{
    return &ctx->counters;
}

void aio_context_get_stats(AioContext *ctx, AioStats *stats)
{
    aio_counters_read(&ctx->counters, stats);
}

struct AioInbox *aio_context_inbox(AioContext *ctx)
{
    return ctx->inbox;
}

void *aio_context_io_state(AioContext *ctx)
{
    return ctx->io_state;
}

void aio_context_set_io_state(AioContext *ctx, void *state, void (*free_fn)(void *))
{
    ctx->io_state = state;
    ctx->io_state_free = free_fn;
}

void aio_context_set_max_batch(AioContext *ctx, unsigned max_batch)
{
    atomic_store_explicit(&ctx->max_batch, max_batch, memory_order_relaxed);
    aio_context_notify(ctx);
}

unsigned aio_context_get_max_batch(const AioContext *ctx)
{
    unsigned max_batch = atomic_load_explicit(&ctx->max_batch, memory_order_relaxed);
    return max_batch || !ctx->ring ? max_batch : ctx->ring->uring.sq.ring_entries;
}

/* Nanoseconds until the loop has to turn, with its first timer due at @deadline_ns (-1: none). */
static int64_t context_timeout(AioContext *ctx, int64_t deadline_ns)
{
    if (ctx->ready.first || (ctx->ring && aio_ring_is_ready(ctx->ring))) {
        return 0;
    }
    int64_t timeout_ns = aio_bh_timeout(ctx);
    if (timeout_ns != 0 && deadline_ns >= 0) {
        int64_t left_ns = deadline_ns - aio_context_read_clock(ctx);
        left_ns = MAX(left_ns, 0);
        timeout_ns = timeout_ns < 0 ? left_ns : MIN(timeout_ns, left_ns);
    }
    return timeout_ns;
}

int64_t aio_context_timeout(AioContext *ctx)
{
    return context_timeout(ctx, aio_timers_deadline(ctx));
}

/* The same for a turn, whose wait may end by a deadline in the ring. */
static int64_t turn_timeout(AioContext *ctx)
{
    int64_t deadline_ns = aio_timers_deadline(ctx);
    return context_timeout(ctx, aio_deadline_is_carried(ctx, deadline_ns) ? -1 : deadline_ns);
}

/* Wait for readiness; sleep only if nothing was found and nobody called. */
static void context_wait(AioContext *ctx, int64_t timeout_ns)
{
    bool announced = false;

    if (timeout_ns != 0) {
        /* From here on producers must signal again. */
        if (aio_context_poll_stop(ctx)) {
            timeout_ns = 0;
        } else {
            announced = true;
            if (aio_notifier_announce(ctx, AIO_SLEEPER_TURN)) {
                timeout_ns = 0;
            } else {
                aio_counter_add(&ctx->counters.blocking_waits, 1);
            }
        }
    }
    /* Without sleeping, handlers that can be asked in memory need no call. */
    if (timeout_ns != 0 || ctx->monitor->needs_wait(ctx) || ctx->monitor->sees_all ||
        atomic_load_explicit(&ctx->unpolled_handlers, memory_order_relaxed) > 0 ||
        !ctx->polled.first) {
        ctx->monitor->wait(ctx, timeout_ns);
    }
    if (announced) {
        aio_notifier_retract(ctx, AIO_SLEEPER_TURN);
    }
}

bool aio_context_dispatch(AioContext *ctx)
{
    bool progress = false;

    aio_batch_begin(ctx);
    if (ctx->ring) {
        progress |= aio_ring_dispatch(ctx->ring);
    }
    progress |= aio_bh_run(ctx);
    progress |= aio_handlers_dispatch(ctx);
    aio_handlers_free_deleted(ctx);
    progress |= aio_timers_run(ctx);
    aio_batch_end(ctx);
    return progress;
}

bool aio_context_poll(AioContext *ctx, bool blocking)
{
    g_assert(aio_context_is_home(ctx));
    ctx->depth++;
    aio_counter_add(&ctx->counters.turns, 1);
    aio_context_load_poll_params(ctx);
    if (ctx->ring) {
        ctx->ring->max_batch = aio_context_get_max_batch(ctx);
    }
    aio_batch_flush(ctx);

    int64_t timeout_ns = blocking ? turn_timeout(ctx) : 0;
    bool adapt = timeout_ns != 0 && aio_context_may_spin(ctx);
    int64_t start_ns = adapt ? ctx->clock_ns() : 0;

    if (adapt) {
        aio_context_spin(ctx, &timeout_ns);
    } else if (!blocking && ctx->polled.first) {
        aio_context_sweep(ctx, ctx->clock_ns());
    }
    context_wait(ctx, timeout_ns);
    aio_context_time_passed(ctx);
    aio_notifier_accept(ctx);
    if (adapt) {
        aio_context_poll_adapt(ctx, ctx->clock_ns() - start_ns);
    }

    bool progress = aio_context_dispatch(ctx);
    ctx->depth--;
    return progress;
}
