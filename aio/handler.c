/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor callbacks: registration from any thread, dispatch, deferred deletion.
 *
 * How it works
 *
 * A handler node is immutable while it is visible. Changing the callbacks of a
 * descriptor inserts a new node and marks the old one deleted, under
 * handlers_lock. The home thread walks the list without the lock: insertion is
 * one release store at the head, and only the home thread unlinks, when no
 * walk is on its stack (ctx->walking) and the monitor has let go of the node.
 *
 * Readiness is kept in the node (revents, poll_ready) and the node on the
 * context's ready list. Dispatch takes nodes off the head one at a time, so a
 * nested turn continues its parent's list and no callback runs twice. Flags
 * are taken and cleared before the callbacks run: what a callback re-arms is
 * kept. "Deleted" is checked before each callback.
 */
#include "aio/context-internal.h"

#include <poll.h>

static AioHandlerLink *handler_link(AioHandler *handler, size_t link_offset)
{
    return (AioHandlerLink *)(void *)((char *)handler + link_offset);
}

void aio_handler_list_init(AioHandlerList *list)
{
    list->first = NULL;
    list->tail = &list->first;
}

void aio_handler_list_append(AioHandlerList *list, AioHandler *handler, size_t link_offset)
{
    AioHandlerLink *link = handler_link(handler, link_offset);
    g_assert(!link->pprev);
    link->next = NULL;
    link->pprev = list->tail;
    *list->tail = handler;
    list->tail = &link->next;
}

void aio_handler_list_remove(AioHandlerList *list, AioHandler *handler, size_t link_offset)
{
    AioHandlerLink *link = handler_link(handler, link_offset);
    if (!link->pprev) {
        return;
    }
    *link->pprev = link->next;
    if (link->next) {
        handler_link(link->next, link_offset)->pprev = link->pprev;
    } else {
        list->tail = link->pprev;
    }
    link->next = NULL;
    link->pprev = NULL;
}

uint32_t aio_handler_events(const AioHandler *handler)
{
    uint32_t events = 0;
    if (handler->ops.read) {
        events |= POLLIN | POLLHUP | POLLERR;
    }
    if (handler->ops.write) {
        events |= POLLOUT | POLLERR;
    }
    return events;
}

static bool handler_is_deleted(AioHandler *handler)
{
    return atomic_load_explicit(&handler->deleted, memory_order_acquire);
}

/* Locked. The node stays visible to walkers until the home thread frees it. */
static void handler_retire(AioContext *ctx, AioHandler *handler)
{
    g_hash_table_remove(ctx->handlers_by_fd, GINT_TO_POINTER(handler->fd));
    if (!handler->ops.poll) {
        atomic_fetch_sub_explicit(&ctx->unpolled_handlers, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&handler->deleted, true, memory_order_release);
    handler->next_deleted = ctx->deleted_handlers;
    ctx->deleted_handlers = handler;
    atomic_store_explicit(&ctx->has_deleted, true, memory_order_release);
}

/* Locked. */
static AioHandler *handler_insert(AioContext *ctx, int fd, const AioFdOps *ops, void *opaque)
{
    AioHandler *handler = g_new0(AioHandler, 1);
    handler->ctx = ctx;
    handler->fd = fd;
    handler->ops = *ops;
    handler->opaque = opaque;
    if (!ops->poll_ready) {
        handler->ops.poll = NULL; /* nobody would act on what it finds */
    }
    if (!handler->ops.poll) {
        atomic_fetch_add_explicit(&ctx->unpolled_handlers, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&handler->next,
                          atomic_load_explicit(&ctx->handlers, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&ctx->handlers, handler, memory_order_release);
    g_hash_table_insert(ctx->handlers_by_fd, GINT_TO_POINTER(fd), handler);
    return handler;
}

void aio_set_fd_handler(AioContext *ctx, int fd, const AioFdOps *ops, void *opaque)
{
    bool remove = !ops || (!ops->read && !ops->write && !(ops->poll && ops->poll_ready));

    pthread_mutex_lock(&ctx->handlers_lock);
    AioHandler *old_handler = g_hash_table_lookup(ctx->handlers_by_fd, GINT_TO_POINTER(fd));
    AioHandler *new_handler = NULL;
    if (old_handler) {
        handler_retire(ctx, old_handler);
    }
    if (!remove) {
        new_handler = handler_insert(ctx, fd, ops, opaque);
    }
    if (old_handler || new_handler) {
        ctx->monitor->update(ctx, old_handler, new_handler);
        atomic_fetch_add_explicit(&ctx->handlers_version, 1, memory_order_release);
    }
    pthread_mutex_unlock(&ctx->handlers_lock);

    /* The home thread hands changes to the monitor before it next sleeps. */
    if ((old_handler || new_handler) && !aio_context_is_home(ctx)) {
        aio_context_notify(ctx);
    }
}

void aio_handler_set_ready(AioHandler *handler, uint32_t revents, bool poll_ready)
{
    AioContext *ctx = handler->ctx;

    handler->revents |= revents;
    handler->poll_ready |= poll_ready;
    handler->active = true;
    if (!handler->ready_link.pprev) {
        aio_handler_list_append(&ctx->ready, handler, offsetof(AioHandler, ready_link));
    }
    if (revents) {
        aio_context_poll_enrol(ctx, handler);
    }
}

static bool handler_dispatch(AioHandler *handler)
{
    AioContext *ctx = handler->ctx;
    uint32_t revents = handler->revents & aio_handler_events(handler);
    bool poll_ready = handler->poll_ready;
    /* The notifier's own wake-ups are not progress. */
    bool counts = handler->fd != ctx->notify_fd;
    bool progress = false;

    handler->revents = 0;
    handler->poll_ready = false;

    if (poll_ready && revents == 0) {
        if (!handler_is_deleted(handler)) {
            handler->ops.poll_ready(handler->opaque);
            progress = counts;
        }
        return progress;
    }
    if ((revents & (POLLIN | POLLHUP | POLLERR)) && handler->ops.read &&
        !handler_is_deleted(handler)) {
        aio_counter_add(&ctx->counters.fd_events, 1);
        handler->ops.read(handler->opaque);
        progress = counts;
    }
    if ((revents & (POLLOUT | POLLERR)) && handler->ops.write && !handler_is_deleted(handler)) {
        aio_counter_add(&ctx->counters.fd_events, 1);
        handler->ops.write(handler->opaque);
        progress = counts;
    }
    return progress;
}

bool aio_handlers_dispatch(AioContext *ctx)
{
    bool progress = false;

    ctx->walking++;
    while (ctx->ready.first) {
        AioHandler *handler = ctx->ready.first;
        aio_handler_list_remove(&ctx->ready, handler, offsetof(AioHandler, ready_link));
        progress |= handler_dispatch(handler);
    }
    ctx->walking--;
    return progress;
}

/* Locked, home thread. */
static void handler_unlink(AioContext *ctx, AioHandler *handler)
{
    _Atomic(AioHandler *) *link = &ctx->handlers;
    AioHandler *node;

    while ((node = atomic_load_explicit(link, memory_order_relaxed)) != handler) {
        link = &node->next;
    }
    atomic_store_explicit(link, atomic_load_explicit(&handler->next, memory_order_relaxed),
                          memory_order_release);
}

void aio_handlers_free_deleted(AioContext *ctx)
{
    if (ctx->walking > 0 || !atomic_load_explicit(&ctx->has_deleted, memory_order_acquire)) {
        return;
    }
    pthread_mutex_lock(&ctx->handlers_lock);
    AioHandler **link = &ctx->deleted_handlers;
    while (*link) {
        AioHandler *handler = *link;
        aio_handler_list_remove(&ctx->ready, handler, offsetof(AioHandler, ready_link));
        aio_handler_list_remove(&ctx->polled, handler, offsetof(AioHandler, polled_link));
        if (!ctx->monitor->released(ctx, handler)) {
            link = &handler->next_deleted;
            continue;
        }
        *link = handler->next_deleted;
        handler_unlink(ctx, handler);
        g_free(handler);
    }
    atomic_store_explicit(&ctx->has_deleted, ctx->deleted_handlers != NULL, memory_order_release);
    pthread_mutex_unlock(&ctx->handlers_lock);
}

void aio_handlers_remove_all(AioContext *ctx)
{
    pthread_mutex_lock(&ctx->handlers_lock);
    AioHandler *handler = atomic_load_explicit(&ctx->handlers, memory_order_acquire);
    for (; handler; handler = atomic_load_explicit(&handler->next, memory_order_acquire)) {
        if (!handler_is_deleted(handler)) {
            handler_retire(ctx, handler);
            ctx->monitor->update(ctx, handler, NULL);
        }
    }
    pthread_mutex_unlock(&ctx->handlers_lock);
}
