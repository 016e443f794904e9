/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the I/O engine makes of one kind of injected faults (aio/io-fault.c), on both engines. */
#include "aio/io-fault.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "aio/pool.h"
#include "aio/ring-internal.h"
#include "io-util.h"

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

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
