/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** For tests of the I/O engine: one request at a time, a file to work on, what was counted. */
#ifndef SLUICE_TESTS_IO_UTIL_H
#define SLUICE_TESTS_IO_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <glib.h>

#include "aio/io.h"
#include "util.h"

/* A done() for who looks at the result. */
static inline void note_done(AioIo *io)
{
}

static inline bool is_done(const AioIo *io)
{
    return io->result != AIO_IO_IN_PROGRESS;
}

/* Submit and wait; done() must not have been called by the submission. */
static inline int run_io(AioContext *ctx, AioIo *io)
{
    memset(&io->state, 0xa5, sizeof(io->state)); /* the engine sets what it uses */
    aio_io_submit(ctx, io, note_done);
    g_assert_false(is_done(io));
    test_poll_until(ctx, is_done(io));
    return io->result;
}

static inline int temp_file(size_t size)
{
    int fd = test_temp_file(size, 0);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static inline AioStats stats_of(AioContext *ctx)
{
    AioStats stats;
    aio_context_get_stats(ctx, &stats);
    return stats;
}

#endif /* SLUICE_TESTS_IO_UTIL_H */
