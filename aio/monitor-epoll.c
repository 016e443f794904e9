/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor readiness through epoll: the monitor where io_uring is not allowed.
 *
 * epoll_ctl(2) is thread safe, so changes take effect in the calling thread.
 * An event that epoll_wait(2) returned for a handler which another thread has
 * removed meanwhile is harmless: the node lives until the home thread frees
 * it, and dispatch skips deleted nodes.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/error.h"

#define EPOLL_EVENTS_MAX 64

static bool epoll_init(AioContext *ctx, GError **error)
{
    ctx->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (ctx->epoll_fd < 0) {
        g_set_error(error, AIO_ERROR, errno, "cannot create an epoll instance: %s",
                    g_strerror(errno));
        return false;
    }
    return true;
}

static void epoll_fini(AioContext *ctx)
{
    close(ctx->epoll_fd);
    ctx->epoll_fd = -1;
}

static void epoll_update(AioContext *ctx, AioHandler *old_handler, AioHandler *new_handler)
{
    uint32_t old_events = old_handler ? aio_handler_events(old_handler) : 0;
    uint32_t events = new_handler ? aio_handler_events(new_handler) : 0;
    /* EPOLLEXCLUSIVE may only be given with ADD. */
    bool exclusive =
        (new_handler && new_handler->ops.exclusive) || (old_handler && old_handler->ops.exclusive);
    struct epoll_event event = {.events = events, .data.ptr = new_handler};

    if (old_events && (!events || exclusive)) {
        /* EBADF, ENOENT: closed before it was removed, so already gone. */
        (void)epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, old_handler->fd, &event);
        old_events = 0;
    }
    if (!events) {
        return;
    }
    if (new_handler->ops.exclusive) {
        /* POLLHUP and POLLERR are always reported; the kernel refuses others. */
        event.events |= EPOLLEXCLUSIVE;
    }
    int ret = epoll_ctl(ctx->epoll_fd, old_events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, new_handler->fd,
                        &event);
    if (ret < 0 && errno == ENOENT) {
        /* Closed and opened again under the same number. */
        ret = epoll_ctl(ctx->epoll_fd, EPOLL_CTL_ADD, new_handler->fd, &event);
    }
    if (ret < 0) {
        g_warning("epoll cannot watch descriptor %d: %s", new_handler->fd, g_strerror(errno));
    }
}

static int epoll_wait_ns(int epoll_fd, struct epoll_event *events, int64_t timeout_ns)
{
    struct timespec ts = {
        .tv_sec = timeout_ns / 1000000000,
        .tv_nsec = timeout_ns % 1000000000,
    };
    int ret = epoll_pwait2(epoll_fd, events, EPOLL_EVENTS_MAX, timeout_ns < 0 ? NULL : &ts, NULL);
    if (ret < 0 && errno == ENOSYS) { /* before Linux 5.11 */
        int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
        ret = epoll_wait(epoll_fd, events, EPOLL_EVENTS_MAX, (int)MIN(ms, G_MAXINT));
    }
    return ret;
}

static void epoll_monitor_wait(AioContext *ctx, int64_t timeout_ns)
{
    struct epoll_event events[EPOLL_EVENTS_MAX];
    int n = epoll_wait_ns(ctx->epoll_fd, events, timeout_ns);

    /*
     * A node that another thread has just added came here through the kernel.
     * Its release store to the list precedes its epoll_ctl(), so this load
     * orders its contents by the language's own rules, too.
     */
    (void)atomic_load_explicit(&ctx->handlers, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        AioHandler *handler = events[i].data.ptr;
        if (!atomic_load_explicit(&handler->deleted, memory_order_acquire)) {
            aio_handler_set_ready(handler, events[i].events, false);
        }
    }
}

static void epoll_arm(AioContext *ctx)
{
}

static bool epoll_needs_wait(AioContext *ctx)
{
    return false;
}

static bool epoll_released(AioContext *ctx, AioHandler *handler)
{
    return true;
}

static int epoll_get_fd(AioContext *ctx)
{
    return ctx->epoll_fd;
}

const AioMonitorOps aio_monitor_epoll = {
    .kind = AIO_MONITOR_EPOLL,
    .init = epoll_init,
    .fini = epoll_fini,
    .update = epoll_update,
    .arm = epoll_arm,
    .wait = epoll_monitor_wait,
    .needs_wait = epoll_needs_wait,
    .released = epoll_released,
    .get_fd = epoll_get_fd,
};
