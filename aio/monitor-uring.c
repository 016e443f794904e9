/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor readiness through poll SQEs in the context's own ring.
 *
 * How it works
 *
 * Each handler has at most one one-shot POLL_ADD in flight (armed). Its CQE
 * makes the handler ready and puts it on the re-arm list; the SQE that watches
 * again is queued when the context next waits, after the callbacks ran.
 * POLL_ADD looks at the level first, so this is level triggered, at no extra
 * system call. Multishot polls are edge triggered and therefore not used.
 *
 * Changes by other threads go to a locked list that the home thread drains
 * before it waits. Removal of an armed handler queues POLL_REMOVE; the node is
 * released when the poll's own CQE has come, whether with readiness or with
 * ECANCELED. A CQE that was already posted when the removal was queued is the
 * same case: the flags decide, not the order.
 *
 * CQEs of polls and of the wake-up eventfd are handled inside the CQ walk
 * (CqeHandler.immediate): they only touch lists of the context.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "aio/context-internal.h"
#include "aio/ring-internal.h"

static void prepare_poll_add(struct io_uring_sqe *sqe, void *opaque)
{
    const AioHandler *handler = opaque;
    uint32_t events = aio_handler_events(handler);
    io_uring_prep_poll_add(sqe, handler->fd,
                           events | (handler->ops.exclusive ? EPOLLEXCLUSIVE : 0));
}

static void prepare_poll_remove(struct io_uring_sqe *sqe, void *opaque)
{
    AioHandler *handler = opaque;
    io_uring_prep_poll_remove(sqe, (uintptr_t)&handler->cqe);
}

static void prepare_notify_read(struct io_uring_sqe *sqe, void *opaque)
{
    AioContext *ctx = opaque;
    io_uring_prep_read(sqe, ctx->notify_fd, &ctx->notify_value, sizeof(ctx->notify_value), 0);
}

static void prepare_notify_cancel(struct io_uring_sqe *sqe, void *opaque)
{
    AioContext *ctx = opaque;
    io_uring_prep_cancel(sqe, &ctx->notify_cqe, 0);
}

static void uring_queue_rearm(AioContext *ctx, AioHandler *handler)
{
    if (!handler->rearm) {
        handler->rearm = true;
        handler->next_rearm = ctx->rearms;
        ctx->rearms = handler;
    }
}

/* Inside the CQ walk. */
static void uring_event(CqeHandler *cqe)
{
    AioHandler *handler = aio_container_of(cqe, AioHandler, cqe);
    AioContext *ctx = handler->ctx;

    handler->armed = false;
    if (atomic_load_explicit(&handler->deleted, memory_order_acquire)) {
        return;
    }
    if (cqe->res > 0) {
        aio_handler_set_ready(handler, (uint32_t)cqe->res, false);
    } else if (cqe->res == -EBADF || cqe->res == -EINVAL) {
        /* Not pollable or closed: tell the handler, it will meet the error. */
        aio_handler_set_ready(handler, POLLERR, false);
    }
    uring_queue_rearm(ctx, handler);
}

static void uring_arm_handler(AioContext *ctx, AioHandler *handler)
{
    if (handler->armed || aio_handler_events(handler) == 0 ||
        atomic_load_explicit(&handler->deleted, memory_order_acquire)) {
        return;
    }
    handler->armed = true;
    handler->cqe.callback = uring_event;
    handler->cqe.immediate = true;
    aio_ring_add(ctx->ring, prepare_poll_add, handler, &handler->cqe);
}

/* Look at what other threads, or this one, have changed. */
static void uring_apply_changes(AioContext *ctx)
{
    pthread_mutex_lock(&ctx->handlers_lock);
    AioHandler *handler = ctx->changes;
    ctx->changes = NULL;
    atomic_store_explicit(&ctx->has_changes, false, memory_order_relaxed);
    while (handler) {
        AioHandler *next = handler->next_change;
        handler->changed = false;
        if (!atomic_load_explicit(&handler->deleted, memory_order_relaxed)) {
            uring_arm_handler(ctx, handler);
        } else if (handler->armed) {
            aio_ring_add(ctx->ring, prepare_poll_remove, handler, NULL);
        }
        handler = next;
    }
    pthread_mutex_unlock(&ctx->handlers_lock);
}

static void uring_notified(CqeHandler *cqe)
{
    AioContext *ctx = aio_container_of(cqe, AioContext, notify_cqe);
    ctx->notify_armed = false;
}

static void uring_arm_notify(AioContext *ctx)
{
    if (!ctx->notify_armed && ctx->notify_fd >= 0) {
        ctx->notify_armed = true;
        ctx->notify_cqe.callback = uring_notified;
        ctx->notify_cqe.immediate = true;
        aio_ring_add(ctx->ring, prepare_notify_read, ctx, &ctx->notify_cqe);
    }
}

static void uring_queue_sqes(AioContext *ctx)
{
    uring_arm_notify(ctx);
    if (atomic_load_explicit(&ctx->has_changes, memory_order_acquire)) {
        uring_apply_changes(ctx);
    }
    AioHandler *handler = ctx->rearms;
    ctx->rearms = NULL;
    while (handler) {
        AioHandler *next = handler->next_rearm;
        handler->rearm = false;
        uring_arm_handler(ctx, handler);
        handler = next;
    }
}

static void uring_arm(AioContext *ctx)
{
    uring_queue_sqes(ctx);
    if (aio_ring_queued(ctx->ring) > 0) {
        (void)aio_ring_submit(ctx->ring);
    }
}

static void uring_wait(AioContext *ctx, int64_t timeout_ns)
{
    uring_queue_sqes(ctx);
    if (timeout_ns > 0 && aio_bh_timeout(ctx) < 0 &&
        aio_deadline_carry(ctx, aio_timers_deadline(ctx), timeout_ns)) {
        timeout_ns = -1;
    }
    (void)aio_ring_wait(ctx->ring, timeout_ns);
    ctx->ring_active = aio_ring_is_ready(ctx->ring);
}

static bool uring_needs_wait(AioContext *ctx)
{
    return ctx->rearms || aio_ring_queued(ctx->ring) > 0 ||
           atomic_load_explicit(&ctx->has_changes, memory_order_relaxed) ||
           aio_ring_has_completions(ctx->ring);
}

/* Locked, any thread. */
static void uring_update(AioContext *ctx, AioHandler *old_handler, AioHandler *new_handler)
{
    AioHandler *handlers[] = {old_handler, new_handler};

    for (size_t i = 0; i < G_N_ELEMENTS(handlers); i++) {
        if (handlers[i] && !handlers[i]->changed) {
            handlers[i]->changed = true;
            handlers[i]->next_change = ctx->changes;
            ctx->changes = handlers[i];
        }
    }
    atomic_store_explicit(&ctx->has_changes, true, memory_order_release);
}

/* Locked, home thread. */
static bool uring_released(AioContext *ctx, AioHandler *handler)
{
    return !handler->armed && !handler->changed && !handler->rearm;
}

static bool uring_init(AioContext *ctx, GError **error)
{
    /* The ring is the context's (aio_context_new() has made it). */
    return true;
}

static void uring_fini(AioContext *ctx)
{
    aio_deadlines_fini(ctx);
    if (ctx->notify_armed) {
        aio_ring_add(ctx->ring, prepare_notify_cancel, ctx, NULL);
        while (ctx->notify_armed) {
            (void)aio_ring_wait(ctx->ring, -1);
        }
    }
}

static int uring_get_fd(AioContext *ctx)
{
    return aio_ring_fd(ctx->ring);
}

const AioMonitorOps aio_monitor_uring = {
    .kind = AIO_MONITOR_URING,
    .init = uring_init,
    .fini = uring_fini,
    .update = uring_update,
    .arm = uring_arm,
    .wait = uring_wait,
    .needs_wait = uring_needs_wait,
    .sees_all = true,
    .released = uring_released,
    .get_fd = uring_get_fd,
};
