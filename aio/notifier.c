/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waking a context from another thread, without a system call while it is awake.
 *
 * How it works
 *
 *     waker                              sleeper (home thread)
 *     1 publish the work                 a announce: sleepers += 2
 *     2 notified = true                  b notified? then do not block
 *     3 sleepers? then write the eventfd c block
 *                                        d retract: sleepers -= 2
 *                                        e notified = false, then look for work
 *
 * 2/3 and a/b are sequentially consistent: in their single total order either
 * 3 comes after a, and the waker writes, or b comes after 2, and the sleeper
 * does not block. So no wake-up is lost. e is an atomic exchange before the
 * look at the work: a waker that sets the flag later than e has published
 * work which the next turn sees, because b of that turn sees the flag.
 *
 * A waker that finds the flag already set has nothing more to do: whoever set
 * it went through 3, or the sleeper will see the flag in b. Many wake-ups thus
 * cost at most one write.
 *
 * While the home thread does not sleep, sleepers is 0 and nobody writes. Bit 0
 * of sleepers belongs to a GLib main loop that may sleep in its own poll
 * between prepare and check; a turn announces by adding 2, so both can be
 * announced at once.
 *
 * With the io_uring monitor a READ of the eventfd is always parked in the
 * ring: its completion is the wake-up and consumes the counter, no read(2) is
 * needed. The other monitors watch the eventfd as an ordinary handler.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/error.h"

static void notifier_read(void *opaque)
{
    AioContext *ctx = opaque;
    uint64_t value;
    ssize_t ret = read(ctx->notify_fd, &value, sizeof(value));
    (void)ret; /* EAGAIN: a nested turn has read it */
}

static bool notifier_poll(void *opaque)
{
    AioContext *ctx = opaque;
    return atomic_load_explicit(&ctx->notified, memory_order_relaxed);
}

static void notifier_poll_ready(void *opaque)
{
    /* aio_notifier_accept() has cleared the flag. */
}

bool aio_notifier_init(AioContext *ctx, GError **error)
{
    static const AioFdOps ops = {
        .read = notifier_read, .poll = notifier_poll, .poll_ready = notifier_poll_ready};

    ctx->notify_fd = eventfd(0, EFD_CLOEXEC | (ctx->ring ? 0 : EFD_NONBLOCK));
    if (ctx->notify_fd < 0) {
        g_set_error(error, AIO_ERROR, errno, "cannot create an eventfd: %s", g_strerror(errno));
        return false;
    }
    if (!ctx->ring) {
        aio_set_fd_handler(ctx, ctx->notify_fd, &ops, ctx);
    }
    return true;
}

void aio_notifier_fini(AioContext *ctx)
{
    if (ctx->notify_fd >= 0) {
        if (!ctx->ring) {
            aio_set_fd_handler(ctx, ctx->notify_fd, NULL, NULL);
        }
        close(ctx->notify_fd);
        ctx->notify_fd = -1;
    }
}

void aio_context_notify(AioContext *ctx)
{
    if (atomic_exchange(&ctx->notified, true)) {
        atomic_fetch_add_explicit(&ctx->counters.wakes_saved, 1, memory_order_relaxed);
        return;
    }
    if (atomic_load(&ctx->sleepers) == 0) {
        atomic_fetch_add_explicit(&ctx->counters.wakes_saved, 1, memory_order_relaxed);
        return;
    }
    uint64_t one = 1;
    ssize_t ret;
    do {
        ret = write(ctx->notify_fd, &one, sizeof(one));
    } while (ret < 0 && errno == EINTR);
    atomic_fetch_add_explicit(&ctx->counters.wakes_sent, 1, memory_order_relaxed);
}

bool aio_notifier_announce(AioContext *ctx, unsigned step)
{
    atomic_fetch_add(&ctx->sleepers, step);
    return atomic_load(&ctx->notified);
}

void aio_notifier_retract(AioContext *ctx, unsigned step)
{
    atomic_fetch_sub_explicit(&ctx->sleepers, step, memory_order_release);
}

void aio_notifier_accept(AioContext *ctx)
{
    if (atomic_load_explicit(&ctx->notified, memory_order_relaxed) &&
        atomic_exchange(&ctx->notified, false)) {
        aio_counter_add(&ctx->counters.wakes_received, 1);
    }
}
