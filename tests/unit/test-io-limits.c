/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the I/O engine answers at its limits (aio/io.c): errors, bad ranges, very long transfers. */
#include "aio/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/pool.h"
#include "io-util.h"

#define KIB ((size_t)1024)

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

/* The kernel transfers less than 2 GiB per call, and an SQE has 32 bits for the length. */
static void test_beyond_int_max(void)
{
#ifdef __SANITIZE_THREAD__
    g_test_skip("the thread sanitizer keeps several bytes of shadow for each byte written");
    return;
#endif
    const size_t gib = (size_t)1 << 30;
    AioContext *ctx = test_context_new();
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char *memory =
        mmap(NULL, 5 * gib, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    AioIo io;

    if (memory == MAP_FAILED) {
        g_test_skip("no address space");
        return;
    }
    aio_io_init_write(&io, null, memory, 5 * gib, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, 5 * gib);

    struct iovec iov[5];
    for (unsigned i = 0; i < 5; i++) {
        iov[i] = (struct iovec){memory + i * gib, gib};
    }
    aio_io_init_writev(&io, null, iov, 5, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, 5 * gib);

    munmap(memory, 5 * gib);
    close(null);
    aio_context_free(ctx);
}

/* The file may grow to a limit: first a short write, then an error, which is the answer. */
static void test_real_error_after_progress(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char *data = g_malloc0(64 * KIB);
    struct rlimit before, limit;
    AioIo io;

    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    limit = before;
    limit.rlim_cur = 10 * KIB;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
    aio_io_init_write(&io, fd, data, 64 * KIB, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, -EFBIG);
    g_assert_cmpuint(io.transferred, ==, 0);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
    signal(SIGXFSZ, SIG_DFL);

    struct stat st;
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 10 * KIB);
    close(fd);
    g_free(data);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io/D20-errors-unchanged", test_errors_unchanged);
    g_test_add_func("/io/bad-ranges", test_bad_ranges);
    g_test_add_func("/io/beyond-int-max", test_beyond_int_max);
    g_test_add_func("/io/A22-real-error-after-progress", test_real_error_after_progress);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
