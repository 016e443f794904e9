/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The I/O engine's contract (aio/io.c), on the ring and on helper threads. */
#include "aio/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/pool.h"
#include "util.h"

#define KIB ((size_t)1024)

static void note_done(AioIo *io)
{
}

static bool is_done(const AioIo *io)
{
    return io->result != AIO_IO_IN_PROGRESS;
}

/* Submit and wait; done() must not have been called by the submission. */
static int run_io(AioContext *ctx, AioIo *io)
{
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

/* Real errors come back as they are. */
static void test_errors_unchanged(void)
{
    AioContext *ctx = test_context_new();
    char buf[100] = "";
    AioIo io;
    int pipe_fds[2], read_only;

    aio_io_init_read(&io, -1, buf, sizeof(buf), 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EBADF);
    g_assert_cmpuint(io.transferred, ==, 0);
    aio_io_init_fsync(&io, -1, false, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EBADF);
    aio_io_init_discard(&io, -1, 0, 100);
    g_assert_cmpint(run_io(ctx, &io), ==, -EBADF);

    g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    aio_io_init_fsync(&io, pipe_fds[1], false, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);
    aio_io_init_fsync(&io, pipe_fds[1], true, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);

    read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    aio_io_init_write(&io, read_only, buf, sizeof(buf), 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EBADF);
    aio_io_init_fallocate(&io, read_only, 0, 0, 100);
    g_assert_cmpint(run_io(ctx, &io), ==, -EBADF);
    close(read_only);

    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    g_assert_cmpint(full, >=, 0);
    aio_io_init_write(&io, full, buf, sizeof(buf), 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -ENOSPC);
    close(full);
    aio_context_free(ctx);
}

static void test_bad_ranges(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(100);
    char buf[100] = "";
    AioIo io;

    aio_io_init_read(&io, fd, buf, sizeof(buf), -1);
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);
    aio_io_init_write(&io, fd, buf, sizeof(buf), INT64_MIN);
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);
    aio_io_init_write(&io, fd, buf, sizeof(buf), INT64_MAX - 50);
    g_assert_cmpint(run_io(ctx, &io), ==, -EOVERFLOW);
    aio_io_init_fallocate(&io, fd, 0, 0, UINT64_MAX);
    g_assert_cmpint(run_io(ctx, &io), ==, -EOVERFLOW);
    aio_io_init_discard(&io, fd, INT64_MAX, 1);
    g_assert_cmpint(run_io(ctx, &io), ==, -EOVERFLOW);

    struct iovec iov[2] = {{buf, SIZE_MAX}, {buf, 2}};
    aio_io_init_readv(&io, fd, iov, 2, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EOVERFLOW);

    close(fd);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io/A18-whole-transfer", test_whole_transfer);
    g_test_add_func("/io/D2-many-segments", test_many_segments);
    g_test_add_func("/io/A20-end-of-file", test_end_of_file);
    g_test_add_func("/io/D20-errors-unchanged", test_errors_unchanged);
    g_test_add_func("/io/bad-ranges", test_bad_ranges);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
