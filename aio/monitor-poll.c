/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptor readiness through ppoll(2): works everywhere, costs O(handlers). */
#include <poll.h>
#include <time.h>

#include "aio/context-internal.h"

static bool poll_init(AioContext *ctx, GError **error)
{
    ctx->pollfds = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    ctx->pollhandlers = g_ptr_array_new();
    return true;
}

static void poll_fini(AioContext *ctx)
{
    g_array_unref(ctx->pollfds);
    g_ptr_array_unref(ctx->pollhandlers);
}

/* Changes are seen in the next walk; the caller wakes the home thread. */
static void poll_update(AioContext *ctx, AioHandler *old_handler, AioHandler *new_handler)
{
}

static void poll_collect(AioContext *ctx)
{
    g_array_set_size(ctx->pollfds, 0);
    g_ptr_array_set_size(ctx->pollhandlers, 0);
    AioHandler *handler = atomic_load_explicit(&ctx->handlers, memory_order_acquire);
    for (; handler; handler = atomic_load_explicit(&handler->next, memory_order_acquire)) {
        uint32_t events = aio_handler_events(handler);
        if (events && !atomic_load_explicit(&handler->deleted, memory_order_acquire)) {
            struct pollfd pollfd = {.fd = handler->fd, .events = (short)events};
            g_array_append_val(ctx->pollfds, pollfd);
            g_ptr_array_add(ctx->pollhandlers, handler);
        }
    }
}

static void poll_wait(AioContext *ctx, int64_t timeout_ns)
{
    struct timespec ts = {
        .tv_sec = timeout_ns / 1000000000,
        .tv_nsec = timeout_ns % 1000000000,
    };

    ctx->walking++;
    poll_collect(ctx);
    struct pollfd *pollfds = (struct pollfd *)(void *)ctx->pollfds->data;
    int n = ppoll(pollfds, ctx->pollfds->len, timeout_ns < 0 ? NULL : &ts, NULL);
    for (unsigned i = 0; n > 0 && i < ctx->pollfds->len; i++) {
        uint32_t revents = (uint32_t)pollfds[i].revents;
        if (revents & POLLNVAL) {
            revents |= POLLERR; /* closed under its handler: let it meet the error */
        }
        if (revents) {
            aio_handler_set_ready(g_ptr_array_index(ctx->pollhandlers, i), revents, false);
        }
    }
    ctx->walking--;
}

static void poll_arm(AioContext *ctx)
{
}

static bool poll_needs_wait(AioContext *ctx)
{
    return false;
}

static bool poll_released(AioContext *ctx, AioHandler *handler)
{
    return true;
}

static int poll_get_fd(AioContext *ctx)
{
    return -1;
}

const AioMonitorOps aio_monitor_poll = {
    .kind = AIO_MONITOR_POLL,
    .init = poll_init,
    .fini = poll_fini,
    .update = poll_update,
    .arm = poll_arm,
    .wait = poll_wait,
    .needs_wait = poll_needs_wait,
    .released = poll_released,
    .get_fd = poll_get_fd,
};
