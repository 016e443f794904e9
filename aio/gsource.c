/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A context as a GSource.
 *
 * How it works: prepare leaves poll mode, hands every change to the monitor,
 * tells GLib how long it may sleep, and announces a sleeper (bit 0), since
 * GLib's own poll may now block; check takes that back. Dispatch is one
 * non-blocking turn, which never spins.
 *
 * io_uring and epoll have one descriptor that becomes readable when anything
 * happened. With the ppoll(2) monitor GLib watches each handler's descriptor;
 * the set is rebuilt when the handlers changed.
 */
#include "aio/gsource.h"
#include "aio/context-internal.h"
#include "aio/ring-internal.h"

typedef struct ContextSource {
    GSource source;
    AioContext *ctx;
    bool announced;
    GPtrArray *tags; /* of the watched descriptors */
    unsigned handlers_version;
} ContextSource;

/* GLib counts in milliseconds: round up, so as not to spin before a deadline. */
static int timeout_to_ms(int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        return -1;
    }
    return (int)MIN((timeout_ns + 999999) / 1000000, G_MAXINT);
}

static void source_watch(ContextSource *self, int fd, uint32_t events)
{
    g_ptr_array_add(self->tags, g_source_add_unix_fd(&self->source, fd, (GIOCondition)events));
}

/* ppoll monitor: watch what the handlers watch. */
static void source_watch_handlers(ContextSource *self)
{
    AioContext *ctx = self->ctx;

    while (self->tags->len > 0) {
        g_source_remove_unix_fd(&self->source, g_ptr_array_steal_index(self->tags, 0));
    }
    self->handlers_version = atomic_load(&ctx->handlers_version);
    AioHandler *handler = atomic_load_explicit(&ctx->handlers, memory_order_acquire);
    for (; handler; handler = atomic_load_explicit(&handler->next, memory_order_acquire)) {
        uint32_t events = aio_handler_events(handler);
        if (events && !atomic_load_explicit(&handler->deleted, memory_order_acquire)) {
            source_watch(self, handler->fd, events);
        }
    }
}

static gboolean source_prepare(GSource *source, int *timeout_ms)
{
    ContextSource *self = (ContextSource *)(void *)source;
    AioContext *ctx = self->ctx;

    bool found = aio_context_poll_stop(ctx);
    aio_batch_flush(ctx);
    ctx->monitor->arm(ctx);
    if (ctx->monitor->get_fd(ctx) < 0 &&
        self->handlers_version != atomic_load(&ctx->handlers_version)) {
        source_watch_handlers(self);
    }
    if (!self->announced) {
        self->announced = true;
        found |= aio_notifier_announce(ctx, AIO_SLEEPER_GLIB);
    } else {
        found |= atomic_load(&ctx->notified);
    }
    *timeout_ms = timeout_to_ms(aio_context_timeout(ctx));
    return found || *timeout_ms == 0 || ctx->monitor->needs_wait(ctx);
}

static void source_retract(ContextSource *self)
{
    if (self->announced) {
        self->announced = false;
        aio_notifier_retract(self->ctx, AIO_SLEEPER_GLIB);
    }
}

static gboolean source_check(GSource *source)
{
    ContextSource *self = (ContextSource *)(void *)source;
    AioContext *ctx = self->ctx;
    bool ready = atomic_load_explicit(&ctx->notified, memory_order_relaxed) ||
                 aio_context_timeout(ctx) == 0 || ctx->monitor->needs_wait(ctx);

    source_retract(self);
    for (unsigned i = 0; i < self->tags->len && !ready; i++) {
        ready = g_source_query_unix_fd(source, g_ptr_array_index(self->tags, i)) != 0;
    }
    return ready;
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    ContextSource *self = (ContextSource *)(void *)source;

    source_retract(self); /* dispatch may come without check */
    aio_context_poll(self->ctx, false);
    return G_SOURCE_CONTINUE;
}

static void source_finalize(GSource *source)
{
    ContextSource *self = (ContextSource *)(void *)source;

    source_retract(self);
    g_ptr_array_unref(self->tags);
}

GSource *aio_gsource_new(AioContext *ctx)
{
    static GSourceFuncs funcs = {
        .prepare = source_prepare,
        .check = source_check,
        .dispatch = source_dispatch,
        .finalize = source_finalize,
    };

    g_assert(aio_context_is_home(ctx));
    g_assert(!ctx->ring || !(ctx->ring->setup_flags & IORING_SETUP_DEFER_TASKRUN));
    GSource *source = g_source_new(&funcs, sizeof(ContextSource));
    ContextSource *self = (ContextSource *)(void *)source;
    self->ctx = ctx;
    self->tags = g_ptr_array_new();
    g_source_set_name(source, ctx->name);
    /* A callback may run a nested main loop. */
    g_source_set_can_recurse(source, TRUE);
    if (ctx->monitor->get_fd(ctx) >= 0) {
        source_watch(self, ctx->monitor->get_fd(ctx), G_IO_IN);
    }
    return source;
}
