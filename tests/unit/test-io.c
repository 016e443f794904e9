/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the I/O engine does (aio/io.c): whole transfers, in segments, every kind of request. */
#include "aio/io.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/pool.h"
#include "io-util.h"

#define KIB ((size_t)1024)

static void expect_file(int fd, const void *data, size_t size, off_t offset)
{
    char *found = g_malloc(size);
    g_assert_cmpint(pread(fd, found, size, offset), ==, (ssize_t)size);
    g_assert_true(memcmp(found, data, size) == 0);
    g_free(found);
}

/* A full transfer answers 0, not a byte count. */
static void test_whole_transfer(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[5000], back[5000];
    AioIo io;

    test_fill(data, sizeof(data), 1);
    aio_io_init_write(&io, fd, data, sizeof(data), 123);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, sizeof(data));
    expect_file(fd, data, sizeof(data), 123);

    aio_io_init_read(&io, fd, back, sizeof(back), 123);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, sizeof(back));
    g_assert_true(memcmp(data, back, sizeof(data)) == 0);

    /* Nothing to transfer is a full transfer. */
    aio_io_init_write(&io, fd, data, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_read(&io, fd, back, 0, 1 << 20);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_readv(&io, fd, NULL, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);

    close(fd);
    aio_context_free(ctx);
}

/* Cut @size bytes at @base into @count elements of different, also zero, lengths. */
static unsigned cut_vector(struct iovec *iov, unsigned count, char *base, size_t size,
                           unsigned seed)
{
    unsigned n = 0;
    while (n + 1 < count && size > 0) {
        seed = seed * 1103515245u + 12345u;
        size_t length = (seed >> 16) % (2 * size / (count - n) + 1);
        length = MIN(length, size);
        iov[n++] = (struct iovec){.iov_base = base, .iov_len = length};
        base += length;
        size -= length;
    }
    iov[n++] = (struct iovec){.iov_base = base, .iov_len = size};
    return n;
}

/* 126 data segments and more, up to beyond what one call takes. */
static void test_many_segments(void)
{
    AioContext *ctx = test_context_new();
    const unsigned counts[] = {1, 2, 5, 126, 128, IOV_MAX, IOV_MAX + 1, 3 * IOV_MAX + 7};
    size_t size = 100 * KIB;
    char *data = g_malloc(size), *back = g_malloc(size);
    struct iovec *iov = g_new(struct iovec, 4 * IOV_MAX);
    int fd = temp_file(0);

    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
        AioIo io;
        test_fill(data, size, i);
        unsigned n = cut_vector(iov, counts[i], data, size, i);
        aio_io_init_writev(&io, fd, iov, n, 7);
        g_assert_cmpuint(io.length, ==, size);
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        expect_file(fd, data, size, 7);

        memset(back, 0, size);
        n = cut_vector(iov, counts[i], back, size, i + 100);
        aio_io_init_readv(&io, fd, iov, n, 7);
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, size);
        g_assert_true(memcmp(data, back, size) == 0);
    }
    close(fd);
    g_free(iov);
    g_free(data);
    g_free(back);
    aio_context_free(ctx);
}

static void test_end_of_file(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[10000], back[10000];
    struct iovec iov[4];
    AioIo io;

    test_fill(data, sizeof(data), 3);
    g_assert_cmpint(pwrite(fd, data, sizeof(data), 0), ==, sizeof(data));
    g_assert_cmpint(ftruncate(fd, 4321), ==, 0);

    const int64_t offsets[] = {0, 4000, 4321, 9999};
    for (unsigned i = 0; i < G_N_ELEMENTS(offsets); i++) {
        size_t expected = offsets[i] < 4321 ? (size_t)(4321 - offsets[i]) : 0;
        for (unsigned zero_fill = 0; zero_fill < 2; zero_fill++) {
            for (unsigned vector = 0; vector < 2; vector++) {
                memset(back, 'x', sizeof(back));
                unsigned n = cut_vector(iov, vector ? 4 : 1, back, 5000, i);
                aio_io_init_readv(&io, fd, iov, n, offsets[i]);
                io.flags = zero_fill ? AIO_IO_ZERO_FILL : 0;
                g_assert_cmpint(run_io(ctx, &io), ==, 0);
                g_assert_cmpuint(io.transferred, ==, zero_fill ? 5000 : expected);
                g_assert_true(memcmp(back, data + offsets[i], expected) == 0);
                for (size_t at = expected; at < 5000; at++) {
                    g_assert_cmpint(back[at], ==, zero_fill ? 0 : 'x');
                }
                g_assert_cmpint(back[5000], ==, 'x');
            }
        }
    }
    close(fd);
    aio_context_free(ctx);
}

/*
 * A flush makes no promise about writes that have not completed: it neither
 * waits for them nor delays them. Whoever wants a write covered submits the
 * flush after its done().
 */
static void test_flush_covers_completed(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[4096];
    AioIo write_io, fsync_io;

    test_fill(data, sizeof(data), 5);
    aio_io_init_write(&write_io, fd, data, sizeof(data), 0);
    aio_io_init_fsync(&fsync_io, fd, false, 0, 0);
    aio_io_submit(ctx, &write_io, note_done);
    aio_io_submit(ctx, &fsync_io, note_done);
    test_poll_until(ctx, is_done(&write_io) && is_done(&fsync_io));
    g_assert_cmpint(write_io.result, ==, 0);
    g_assert_cmpint(fsync_io.result, ==, 0);

    /* The write is seen to be in the file before the flush that covers it starts. */
    aio_io_init_fsync(&fsync_io, fd, true, 0, 0);
    expect_file(fd, data, sizeof(data), 0);
    g_assert_cmpint(run_io(ctx, &fsync_io), ==, 0);
    close(fd);
    aio_context_free(ctx);
}

/* Every kind of request, one after the other, on one file. */
static void test_kinds(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[8192], back[8192];
    struct stat st;
    AioIo io;

    test_fill(data, sizeof(data), 6);
    aio_io_init_write(&io, fd, data, 4096, 0);
    io.flags = AIO_IO_FUA;
    g_assert_cmpint(run_io(ctx, &io), ==, 0);

    aio_io_init_write(&io, fd, data + 4096, 4096, -1); /* ignored */
    io.flags = AIO_IO_APPEND;
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    expect_file(fd, data, sizeof(data), 0);

    aio_io_init_fsync(&io, fd, false, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_fsync(&io, fd, true, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_fsync(&io, fd, true, 100, 5000);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_fsync(&io, fd, false, 0, (uint64_t)1 << 40);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);

    aio_io_init_fallocate(&io, fd, 0, 8192, 8192);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 16384);
    aio_io_init_fallocate(&io, fd, 0, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);

    aio_io_init_discard(&io, fd, 4096, 4096);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    memset(data + 4096, 0, 4096);
    aio_io_init_read(&io, fd, back, sizeof(back), 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_true(memcmp(data, back, sizeof(data)) == 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_HOLE), ==, 4096);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 16384); /* the size is kept */

    close(fd);
    aio_context_free(ctx);
}

static void test_unknown_kind(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = test_context_new();
        AioIo io;
        aio_io_init_fsync(&io, 0, false, 0, 0);
        io.op = (AioIoOp)77;
        aio_io_submit(ctx, &io, note_done);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*unknown operation 77*");
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io/A18-whole-transfer", test_whole_transfer);
    g_test_add_func("/io/D2-many-segments", test_many_segments);
    g_test_add_func("/io/A20-end-of-file", test_end_of_file);
    g_test_add_func("/io/D21-flush-covers-completed", test_flush_covers_completed);
    g_test_add_func("/io/A23-kinds", test_kinds);
    g_test_add_func("/io/A23-unknown-kind", test_unknown_kind);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
