/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the I/O engine makes of injected faults (aio/io-fault.c), on both engines. */
#include "aio/io-fault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "aio/context-internal.h"
#include "aio/pool.h"
#include "aio/ring-internal.h"
#include "util.h"

static void note_done(AioIo *io)
{
}

static bool is_done(const AioIo *io)
{
    return io->result != AIO_IO_IN_PROGRESS;
}

static int run_io(AioContext *ctx, AioIo *io)
{
    memset(&io->state, 0xa5, sizeof(io->state)); /* the engine sets what it uses */
    aio_io_submit(ctx, io, note_done);
    g_assert_false(is_done(io));
    test_poll_until(ctx, is_done(io));
    return io->result;
}

static int temp_file(size_t size)
{
    int fd = test_temp_file(size, 0);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static AioStats stats_of(AioContext *ctx)
{
    AioStats stats;
    aio_context_get_stats(ctx, &stats);
    return stats;
}

/*
 * Bursts of @burst EINTR or EAGAIN answers strike every other step. A request
 * thus meets 0, 1, 2... bursts in a row; it succeeds as long as they are no
 * more than AIO_IO_RETRIES_MAX answers, else it fails with the last one.
 */
static void check_retries(AioContext *ctx, int fd, unsigned burst, bool *succeeded, bool *failed)
{
    bool can_succeed = burst <= AIO_IO_RETRIES_MAX, can_fail = burst >= AIO_IO_RETRIES_MAX;

    for (unsigned seed = 0;
         seed < 6 || (seed < 100 && (*succeeded != can_succeed || *failed != can_fail)); seed++) {
        AioIoFaults faults = {.seed = seed, .eagain_permille = 500, .eagain_burst = burst};
        char data[100], back[100];
        AioIo io;

        aio_io_set_faults(ctx, &faults);
        uint64_t before = stats_of(ctx).io_retries;
        bool write = seed % 2;
        test_fill(data, sizeof(data), seed);
        if (write) {
            aio_io_init_write(&io, fd, data, sizeof(data), 0);
        } else {
            g_assert_cmpint(pwrite(fd, data, sizeof(data), 0), ==, sizeof(data));
            aio_io_init_read(&io, fd, back, sizeof(back), 0);
        }
        int result = run_io(ctx, &io);
        uint64_t retries = stats_of(ctx).io_retries - before;
        if (result == 0) {
            g_assert_cmpuint(retries % burst, ==, 0);
            g_assert_cmpuint(retries, <=, AIO_IO_RETRIES_MAX);
            if (write) {
                g_assert_cmpint(pread(fd, back, sizeof(back), 0), ==, sizeof(back));
            }
            g_assert_true(memcmp(data, back, sizeof(data)) == 0);
            *succeeded |= retries > 0;
        } else {
            g_assert_true(result == -EAGAIN || result == -EINTR);
            g_assert_cmpuint(retries, ==, AIO_IO_RETRIES_MAX);
            g_assert_cmpuint(io.transferred, ==, 0);
            *failed = true;
        }
    }
}

static void test_retries(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(100);
    const unsigned bursts[] = {1, 5, 64, 65};

    for (unsigned i = 0; i < G_N_ELEMENTS(bursts); i++) {
        bool succeeded = false, failed = false;
        check_retries(ctx, fd, bursts[i], &succeeded, &failed);
        g_assert_cmpint(succeeded, ==, bursts[i] <= AIO_IO_RETRIES_MAX);
        g_assert_cmpint(failed, ==, bursts[i] >= AIO_IO_RETRIES_MAX);
    }
    close(fd);
    aio_context_free(ctx);
}

/* Endless EAGAIN ends after a while and does not spin: later repeats wait for a timer. */
static void test_retries_back_off(void)
{
    AioContext *ctx = test_context_new();
    AioIoFaults faults = {.eagain_permille = 1000};
    char buf[10];
    AioIo io;
    int fd = temp_file(10);

    aio_io_set_faults(ctx, &faults);
    AioStats before = stats_of(ctx);
    int64_t start_ns = aio_clock_ns();
    aio_io_init_read(&io, fd, buf, sizeof(buf), 0);
    int result = run_io(ctx, &io);
    AioStats after = stats_of(ctx);

    g_assert_true(result == -EAGAIN || result == -EINTR);
    g_assert_cmpuint(after.io_retries - before.io_retries, ==, AIO_IO_RETRIES_MAX);
    g_assert_cmpuint(after.timers - before.timers, ==, AIO_IO_RETRIES_MAX - 4);
    g_assert_cmpint(aio_clock_ns() - start_ns, >=, 200 * 1000 * 1000);

    /* Faults off: the same request succeeds. */
    aio_io_set_faults(ctx, NULL);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    close(fd);
    aio_context_free(ctx);
}

static void test_flush_errors(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(10);
    AioIoFaults eio = {.eio_permille = 1000}, cancel = {.cancel_permille = 1000};
    AioIo io;

    for (unsigned datasync = 0; datasync < 2; datasync++) {
        aio_io_set_faults(ctx, &eio);
        aio_io_init_fsync(&io, fd, datasync, 0, 0);
        g_assert_cmpint(run_io(ctx, &io), ==, -EIO);
        aio_io_set_faults(ctx, &cancel);
        g_assert_cmpint(run_io(ctx, &io), ==, -ECANCELED);
        aio_io_set_faults(ctx, NULL);
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
    }
    close(fd);
    aio_context_free(ctx);
}

/* Every step is short: five elements of odd lengths, down to single bytes. */
static void test_short_transfers(void)
{
    enum { SIZE = 1 + 3 + 7 + 31 + 13 };
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[SIZE], back[SIZE + 1];
    AioIo io;

    for (unsigned seed = 0; seed < 200; seed++) {
        AioIoFaults faults = {.seed = seed, .short_permille = 1000};
        bool write = seed % 2;
        char *base = write ? data : back;
        struct iovec iov[5] = {
            {base, 1}, {base + 1, 3}, {base + 4, 7}, {base + 11, 31}, {base + 42, 13}};
        struct iovec copy[5];
        memcpy(copy, iov, sizeof(iov));

        aio_io_set_faults(ctx, &faults);
        uint64_t before = stats_of(ctx).io_short;
        test_fill(data, SIZE, seed);
        memset(back, 'x', sizeof(back));
        if (write) {
            aio_io_init_writev(&io, fd, iov, 5, seed);
            g_assert_cmpint(run_io(ctx, &io), ==, 0);
            g_assert_cmpint(pread(fd, back, SIZE, seed), ==, SIZE);
        } else {
            g_assert_cmpint(pwrite(fd, data, SIZE, seed), ==, SIZE);
            aio_io_init_readv(&io, fd, iov, 5, seed);
            g_assert_cmpint(run_io(ctx, &io), ==, 0);
        }
        g_assert_cmpuint(io.transferred, ==, SIZE);
        g_assert_true(memcmp(data, back, SIZE) == 0);
        g_assert_cmpint(back[SIZE], ==, 'x');
        g_assert_true(memcmp(copy, iov, sizeof(iov)) == 0); /* the caller's vector is not changed */
        g_assert_cmpuint(stats_of(ctx).io_short, >, before);
    }
    close(fd);
    aio_context_free(ctx);
}

/* Appends in pieces do not overwrite each other. */
static void test_short_append(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[500], back[500];
    AioIo io;

    test_fill(data, sizeof(data), 1);
    for (unsigned i = 0; i < 5; i++) {
        AioIoFaults faults = {.seed = i, .short_permille = 900};
        aio_io_set_faults(ctx, &faults);
        aio_io_init_write(&io, fd, data + i * 100, 100, 0);
        io.flags = AIO_IO_APPEND;
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
    }
    g_assert_cmpint(pread(fd, back, sizeof(back), 0), ==, sizeof(back));
    g_assert_true(memcmp(data, back, sizeof(data)) == 0);
    close(fd);
    aio_context_free(ctx);
}

/* The end of the file is found and filled also in small steps. */
static void test_short_at_end_of_file(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[1000], back[1000];
    AioIo io;

    test_fill(data, 300, 1);
    memset(data + 300, 0, 700);
    g_assert_cmpint(pwrite(fd, data, 300, 0), ==, 300);
    for (unsigned seed = 0; seed < 50; seed++) {
        AioIoFaults faults = {.seed = seed, .short_permille = 800};
        struct iovec iov[3] = {{back, 111}, {back + 111, 222}, {back + 333, 667}};
        aio_io_set_faults(ctx, &faults);
        memset(back, 'x', sizeof(back));
        aio_io_init_readv(&io, fd, iov, 3, 0);
        io.flags = AIO_IO_ZERO_FILL;
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, 1000);
        g_assert_true(memcmp(data, back, sizeof(data)) == 0);
        io.flags = 0;
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, 300);
    }
    close(fd);
    aio_context_free(ctx);
}

/* A short write is continued; one that makes no progress is out of space. */
static void test_stalled_write(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[1000];
    unsigned stalled = 0;
    AioIo io;

    test_fill(data, sizeof(data), 1);
    for (unsigned seed = 0; seed < 50; seed++) {
        AioIoFaults faults = {.seed = seed, .short_permille = 800, .stall_permille = 100};
        aio_io_set_faults(ctx, &faults);
        aio_io_init_write(&io, fd, data, sizeof(data), 0);
        if (run_io(ctx, &io) == 0) {
            g_assert_cmpuint(io.transferred, ==, sizeof(data));
        } else {
            g_assert_cmpint(io.result, ==, -ENOSPC);
            g_assert_cmpuint(io.transferred, ==, 0);
            stalled++;
        }
    }
    g_assert_cmpuint(stalled, >, 0);
    g_assert_cmpuint(stalled, <, 50);
    close(fd);
    aio_context_free(ctx);
}

/* An error after partial progress is the answer; the progress is dropped. */
static void test_error_after_progress(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(1000);
    char buf[1000];
    unsigned after_progress = 0;
    AioIo io;

    for (unsigned seed = 0; seed < 100; seed++) {
        AioIoFaults faults = {.seed = seed, .short_permille = 1000, .eio_permille = 200};
        aio_io_set_faults(ctx, &faults);
        uint64_t before = stats_of(ctx).io_short;
        aio_io_init_read(&io, fd, buf, sizeof(buf), 0);
        if (run_io(ctx, &io) < 0) {
            g_assert_cmpint(io.result, ==, -EIO);
            g_assert_cmpuint(io.transferred, ==, 0);
            after_progress += stats_of(ctx).io_short > before;
        } else {
            g_assert_cmpuint(io.transferred, ==, sizeof(buf));
        }
    }
    g_assert_cmpuint(after_progress, >, 10);
    close(fd);
    aio_context_free(ctx);
}

/* Faults depend on the seed and on the order of submission only. */
static void test_reproducible(void)
{
    enum { COUNT = 64 };
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    char bufs[COUNT][64];
    AioIo ios[COUNT];
    int results[3][COUNT];
    uint64_t retries[3], shorts[3];

    for (unsigned round = 0; round < 3; round++) {
        AioIoFaults faults = {.seed = 42 + (round == 2),
                              .short_permille = 300,
                              .eagain_permille = 300,
                              .eio_permille = 50,
                              .cancel_permille = 50,
                              .delay_permille = 300,
                              .delay_ns = round * 100 * 1000};
        aio_io_set_faults(ctx, &faults);
        AioStats before = stats_of(ctx);
        for (unsigned i = 0; i < COUNT; i++) {
            aio_io_init_read(&ios[i], fd, bufs[i], sizeof(bufs[i]), i);
            aio_io_submit(ctx, &ios[i], note_done);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            test_poll_until(ctx, is_done(&ios[i]));
            results[round][i] = ios[i].result;
        }
        retries[round] = stats_of(ctx).io_retries - before.io_retries;
        shorts[round] = stats_of(ctx).io_short - before.io_short;
    }
    g_assert_true(memcmp(results[0], results[1], sizeof(results[0])) == 0);
    g_assert_cmpuint(retries[0], ==, retries[1]);
    g_assert_cmpuint(shorts[0], ==, shorts[1]);
    g_assert_true(memcmp(results[0], results[2], sizeof(results[0])) != 0);
    close(fd);
    aio_context_free(ctx);
}

/* A delayed write does not hold a flush back, nor does the flush wait for it. */
static void test_flush_does_not_wait(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    AioIoFaults faults = {.delay_permille = 1000, .delay_ns = INT64_C(300) * 1000 * 1000};
    char data[100] = "";
    AioIo write_io, fsync_io;

    aio_io_set_faults(ctx, &faults);
    aio_io_init_write(&write_io, fd, data, sizeof(data), 0);
    aio_io_submit(ctx, &write_io, note_done);
    aio_io_set_faults(ctx, NULL);
    int64_t start_ns = aio_clock_ns();
    aio_io_init_fsync(&fsync_io, fd, true, 0, 0);
    g_assert_cmpint(run_io(ctx, &fsync_io), ==, 0);
    if (aio_clock_ns() - start_ns < faults.delay_ns) {
        g_assert_false(is_done(&write_io));
    }
    test_poll_until(ctx, is_done(&write_io));
    g_assert_cmpint(write_io.result, ==, 0);
    close(fd);
    aio_context_free(ctx);
}

static unsigned refusals;

static int refusing_submit(struct io_uring *uring)
{
    if (refusals > 0) {
        refusals--;
        return -EBADR;
    }
    return io_uring_submit(uring);
}

/*
 * The kernel refuses a submission for good reasons of its own. The requests,
 * which live in this frame, are neither lost nor answered early: they stay the
 * engine's until the kernel has had them, also when the context goes away.
 */
static void test_hard_submit_error(void)
{
    for (unsigned drain = 0; drain < 2; drain++) {
        AioContext *ctx = test_context_new();
        AioRing *ring = aio_context_ring(ctx);
        if (!ring) {
            g_test_skip("no ring");
            aio_context_free(ctx);
            return;
        }
        int fd = temp_file(0);
        char data[4096], back[4096];
        AioIo ios[8];

        test_fill(data, sizeof(data), drain);
        g_assert_cmpint(pwrite(fd, data, sizeof(data), 0), ==, sizeof(data));
        ring->submit = refusing_submit;
        refusals = 50;
        for (unsigned i = 0; i < G_N_ELEMENTS(ios); i++) {
            aio_io_init_read(&ios[i], fd, back + i * 512, 512, i * 512);
            aio_io_submit(ctx, &ios[i], note_done);
        }
        aio_context_poll(ctx, false);
        for (unsigned i = 0; i < G_N_ELEMENTS(ios); i++) {
            g_assert_false(is_done(&ios[i]));
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(ios) && !drain; i++) {
            test_poll_until(ctx, is_done(&ios[i]));
        }
        aio_context_free(ctx);
        g_assert_cmpuint(refusals, ==, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(ios); i++) {
            g_assert_cmpint(ios[i].result, ==, 0);
        }
        g_assert_true(memcmp(data, back, sizeof(data)) == 0);
        close(fd);
    }
}

/* Requests that pause, are delayed or wait for the kernel when the context goes away. */
static void test_context_free_drains(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    AioIoFaults faults = {.seed = 9,
                          .eagain_permille = 500,
                          .eagain_burst = 10,
                          .delay_permille = 500,
                          .delay_ns = 2 * 1000 * 1000};
    char bufs[100][64];
    AioIo ios[100];

    aio_io_set_faults(ctx, &faults);
    for (unsigned i = 0; i < G_N_ELEMENTS(ios); i++) {
        aio_io_init_read(&ios[i], fd, bufs[i], sizeof(bufs[i]), i);
        aio_io_submit(ctx, &ios[i], note_done);
    }
    aio_context_free(ctx);
    for (unsigned i = 0; i < G_N_ELEMENTS(ios); i++) {
        g_assert_true(is_done(&ios[i]));
    }
    close(fd);
}

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
    g_test_add_func("/io-fault/A16-retries", test_retries);
    g_test_add_func("/io-fault/A16-back-off", test_retries_back_off);
    g_test_add_func("/io-fault/A17-flush-errors", test_flush_errors);
    g_test_add_func("/io-fault/A19-short-transfers", test_short_transfers);
    g_test_add_func("/io-fault/A19-short-append", test_short_append);
    g_test_add_func("/io-fault/A20-short-at-end-of-file", test_short_at_end_of_file);
    g_test_add_func("/io-fault/A21-stalled-write", test_stalled_write);
    g_test_add_func("/io-fault/A22-error-after-progress", test_error_after_progress);
    g_test_add_func("/io-fault/reproducible", test_reproducible);
    g_test_add_func("/io-fault/D21-flush-does-not-wait", test_flush_does_not_wait);
    g_test_add_func("/io-fault/C14-context-free-drains", test_context_free_drains);
    g_test_add_func("/io-fault/A30-hard-submit-error", test_hard_submit_error);
    g_test_add_func("/io-fault/A7-A16-A22-matrix", test_matrix);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
