/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random requests under every kind of injected faults at once (aio/io-fault.c), against a model. */
#include "aio/io-fault.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/pool.h"
#include "io-util.h"

/*
 * The matrix: lanes of random requests run at the same time, each in its own
 * part of a file, under every kind of fault. A model of each part tells what
 * a successful read must find.
 */
#define LANE_SIZE   20000
#define LANES       12
#define LANE_ROUNDS 40

typedef struct Lane {
    AioIo io;
    AioContext *ctx;
    GRand *random;
    int fd;
    int64_t start;
    unsigned left;
    unsigned errors;
    bool done;
    int64_t offset; /* of the request, in the part */
    size_t length;
    struct iovec iov[9];
    char model[LANE_SIZE];
    char buf[LANE_SIZE];
} Lane;

static void lane_next(Lane *lane);

static void lane_done(AioIo *io)
{
    Lane *lane = aio_container_of(io, Lane, io);
    bool expected_error = io->result == -EIO || io->result == -ECANCELED;

    if (!expected_error) {
        g_assert_cmpint(io->result, ==, 0);
    }
    if (io->result < 0) {
        lane->errors++;
        g_assert_cmpuint(io->transferred, ==, 0);
        if (io->op == AIO_IO_WRITE) {
            /* Old or new bytes, any mixture: take what is there as the model. */
            char *model = lane->model + lane->offset;
            for (size_t i = 0; i < lane->length; i++) {
                char found;
                g_assert_cmpint(pread(lane->fd, &found, 1, lane->start + lane->offset + (int64_t)i),
                                ==, 1);
                g_assert_true(found == model[i] || found == lane->buf[i]);
                model[i] = found;
            }
        }
    } else if (io->op == AIO_IO_READ) {
        g_assert_cmpuint(io->transferred, ==, lane->length);
        g_assert_true(memcmp(lane->buf, lane->model + lane->offset, lane->length) == 0);
    } else if (io->op == AIO_IO_WRITE) {
        g_assert_cmpuint(io->transferred, ==, lane->length);
        memcpy(lane->model + lane->offset, lane->buf, lane->length);
    }
    if (--lane->left > 0) {
        lane_next(lane);
    } else {
        lane->done = true;
    }
}

static void lane_next(Lane *lane)
{
    int kind = g_rand_int_range(lane->random, 0, 10);

    lane->length = (size_t)g_rand_int_range(lane->random, 1, LANE_SIZE / 4);
    lane->offset = g_rand_int_range(lane->random, 0, LANE_SIZE - (int)lane->length);
    if (kind == 0) {
        aio_io_init_fsync(&lane->io, lane->fd, g_rand_boolean(lane->random), 0, 0);
        aio_io_submit(lane->ctx, &lane->io, lane_done);
        return;
    }
    unsigned n = 0;
    size_t at = 0;
    while (n + 1 < G_N_ELEMENTS(lane->iov) && at < lane->length && kind % 2) {
        size_t size = (size_t)g_rand_int_range(lane->random, 0, (int)(lane->length - at) + 1);
        lane->iov[n++] = (struct iovec){lane->buf + at, size};
        at += size;
    }
    lane->iov[n++] = (struct iovec){lane->buf + at, lane->length - at};
    test_fill(lane->buf, lane->length, g_rand_int(lane->random));
    if (kind < 5) {
        aio_io_init_readv(&lane->io, lane->fd, lane->iov, n, lane->start + lane->offset);
    } else {
        aio_io_init_writev(&lane->io, lane->fd, lane->iov, n, lane->start + lane->offset);
        lane->io.flags = kind == 9 ? AIO_IO_FUA : 0;
    }
    aio_io_submit(lane->ctx, &lane->io, lane_done);
}

static void run_matrix(unsigned seed)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(LANES * LANE_SIZE);
    AioIoFaults faults = {.seed = seed,
                          .short_permille = 300,
                          .eagain_permille = 100,
                          .eagain_burst = 1 + seed % 6,
                          .eio_permille = seed % 3 ? 10 : 0,
                          .cancel_permille = seed % 3 ? 10 : 0,
                          .delay_permille = 50,
                          .delay_ns = 100 * 1000};
    Lane *lanes = g_new0(Lane, LANES);
    unsigned errors = 0;

    aio_io_set_faults(ctx, &faults);
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i].ctx = ctx;
        lanes[i].fd = fd;
        lanes[i].start = (int64_t)i * LANE_SIZE;
        lanes[i].left = LANE_ROUNDS;
        lanes[i].random = g_rand_new_with_seed(seed * LANES + i);
        lane_next(&lanes[i]);
    }
    for (unsigned i = 0; i < LANES; i++) {
        test_poll_until(ctx, lanes[i].done);
    }
    for (unsigned i = 0; i < LANES; i++) {
        char found[LANE_SIZE];
        g_assert_cmpint(pread(fd, found, LANE_SIZE, lanes[i].start), ==, LANE_SIZE);
        g_assert_true(memcmp(found, lanes[i].model, LANE_SIZE) == 0);
        errors += lanes[i].errors;
        g_rand_free(lanes[i].random);
    }
    g_assert_cmpint(errors > 0, ==, seed % 3 != 0);
    AioRing *ring = aio_context_ring(ctx);
    if (ring) {
        /* At rest: nothing queued, in flight only what the loop itself keeps armed. */
        unsigned armed = 1;
        for (unsigned i = 0; i < AIO_DEADLINES; i++) {
            armed += ctx->deadlines[i].armed; /* its timer may have been called with another */
        }
        g_assert_cmpuint(aio_ring_queued(ring), ==, 0);
        g_assert_cmpuint(aio_ring_in_flight(ring), <=, armed);
    }
    AioStats stats = stats_of(ctx);
    g_assert_cmpuint(stats.io_requests, ==, LANES * LANE_ROUNDS);
    g_assert_cmpuint(stats.io_retries, >, 0);
    g_assert_cmpuint(stats.io_short, >, 0);
    g_free(lanes);
    close(fd);
    aio_context_free(ctx);
}

static void test_matrix(void)
{
    for (unsigned seed = 0; seed < 12; seed++) {
        run_matrix(seed);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io-fault/A7-A16-A22-matrix", test_matrix);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
