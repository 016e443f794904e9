/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** For tests of the loop: events that are raised by hand, and turns until none is left. */
#ifndef SLUICE_TESTS_LOOP_UTIL_H
#define SLUICE_TESTS_LOOP_UTIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <glib.h>

#include "aio/context-internal.h"

static inline int eventfd_new(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static inline void eventfd_raise(int fd)
{
    uint64_t one = 1;
    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* Whether there was an event. */
static inline bool eventfd_take(int fd)
{
    uint64_t value;
    return read(fd, &value, sizeof(value)) == sizeof(value);
}

/* Turn until nothing happens any more. */
static inline void settle(AioContext *ctx)
{
    for (unsigned idle = 0; idle < 3; idle++) {
        if (aio_context_poll(ctx, false)) {
            idle = 0;
        }
    }
}

/* Until the kernel has let go of every removed handler. */
static inline void settle_deleted(AioContext *ctx)
{
    while (atomic_load(&ctx->has_deleted)) {
        aio_context_poll(ctx, false);
    }
}

/* Nothing is left to do: a turn makes no progress. */
static inline void assert_idle(AioContext *ctx)
{
    for (unsigned i = 0; i < 3; i++) {
        g_assert_false(aio_context_poll(ctx, false));
    }
    g_assert_cmpuint(ctx->walking, ==, 0);
    g_assert_cmpuint(ctx->depth, ==, 0);
}

#endif /* SLUICE_TESTS_LOOP_UTIL_H */
