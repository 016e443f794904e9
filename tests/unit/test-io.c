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

typedef struct Counted {
    AioIo io;
    unsigned *left;
    unsigned calls;
    unsigned char byte;
} Counted;

static void counted_done(AioIo *io)
{
    Counted *counted = aio_container_of(io, Counted, io);
    g_assert_true(aio_context_is_home(aio_context_current()));
    counted->calls++;
    --*counted->left;
}

/* Far more requests than ring slots or threads, all in the caller's memory. */
static void many_requests(Counted *requests, unsigned count)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    unsigned char *data = g_malloc(count);
    unsigned left = count;

    test_fill(data, count, 4);
    g_assert_cmpint(pwrite(fd, data, count, 0), ==, count);
    for (unsigned i = 0; i < count; i++) {
        requests[i].left = &left;
        requests[i].calls = 0;
        aio_io_init_read(&requests[i].io, fd, &requests[i].byte, 1, i);
        aio_io_submit(ctx, &requests[i].io, counted_done);
        g_assert_cmpint(requests[i].io.result, ==, AIO_IO_IN_PROGRESS);
    }
    test_poll_until(ctx, left == 0);
    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpuint(requests[i].calls, ==, 1);
        g_assert_cmpint(requests[i].io.result, ==, 0);
        g_assert_cmpuint(requests[i].byte, ==, data[i]);
    }
    g_free(data);
    close(fd);
    aio_context_free(ctx);
}

static void test_10k_requests(void)
{
    Counted frame[1000];
    Counted *heap = g_new(Counted, 10000);
    many_requests(frame, G_N_ELEMENTS(frame));
    many_requests(heap, 10000);
    g_free(heap);
}

typedef struct Restart {
    AioIo io;
    AioContext *ctx;
    int fd;
    char buf[512];
    bool submitting;
    unsigned left;
} Restart;

static void restart_done(AioIo *io)
{
    Restart *restart = aio_container_of(io, Restart, io);
    g_assert_false(restart->submitting);
    g_assert_cmpint(io->result, ==, 0);
    if (--restart->left > 0) {
        restart->submitting = true;
        aio_io_init_read(&restart->io, restart->fd, restart->buf, sizeof(restart->buf), 0);
        aio_io_submit(restart->ctx, &restart->io, restart_done);
        restart->submitting = false;
    }
}

/*
 * Data in the page cache is there at once, yet done() waits for a turn: the
 * frame that submits is never re-entered. Many at a time, so that the ring
 * submits by itself, and from inside done().
 */
static void test_completes_in_submit(void)
{
    enum { COUNT = 1000 };
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    Restart *requests = g_new0(Restart, COUNT);
    char buf[4096];

    g_assert_cmpint(pread(fd, buf, sizeof(buf), 0), ==, sizeof(buf));
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i].ctx = ctx;
        requests[i].fd = fd;
        requests[i].left = 3;
        requests[i].submitting = true;
        aio_io_init_read(&requests[i].io, fd, requests[i].buf, sizeof(requests[i].buf), 0);
        aio_io_submit(ctx, &requests[i].io, restart_done);
        requests[i].submitting = false;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        g_assert_cmpuint(requests[i].left, ==, 3);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        test_poll_until(ctx, requests[i].left == 0);
    }
    g_free(requests);
    close(fd);
    aio_context_free(ctx);
}

/* A cached read costs one system call, which both submits and completes it. */
static void test_cached_read_one_enter(void)
{
    AioContext *ctx = test_context_new();
    if (!aio_context_ring(ctx)) {
        g_test_skip("no ring");
        aio_context_free(ctx);
        return;
    }
    int fd = temp_file(4096);
    char buf[4096];
    AioIo io;

    aio_io_init_read(&io, fd, buf, sizeof(buf), 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0); /* fills the cache */
    while (aio_context_poll(ctx, false)) {
    }
    for (unsigned i = 0; i < 100; i++) {
        AioStats before, after;
        aio_context_get_stats(ctx, &before);
        aio_io_submit(ctx, &io, note_done);
        aio_context_poll(ctx, true);
        g_assert_true(is_done(&io));
        aio_context_get_stats(ctx, &after);
        g_assert_cmpuint(after.enters - before.enters, ==, 1);
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

/* Submitted but not done when the context goes away: they are done first. */
static void test_context_free_drains(void)
{
    enum { COUNT = 200 };
    AioContext *ctx = test_context_new();
    int fd = temp_file(0);
    char data[4096];
    Counted requests[COUNT];
    unsigned left = COUNT;

    test_fill(data, sizeof(data), 7);
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i].left = &left;
        requests[i].calls = 0;
        if (i % 20 == 19) {
            aio_io_init_fsync(&requests[i].io, fd, true, 0, 0);
        } else if (i % 20 == 18) {
            aio_io_init_read(&requests[i].io, fd, data, 1, -5); /* never sees the kernel */
        } else {
            aio_io_init_write(&requests[i].io, fd, data, sizeof(data), i * 4096);
        }
        aio_io_submit(ctx, &requests[i].io, counted_done);
    }
    aio_context_free(ctx);
    g_assert_cmpuint(left, ==, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        g_assert_cmpuint(requests[i].calls, ==, 1);
    }
    close(fd);
}

typedef struct Nested {
    AioIo io;
    AioContext *ctx;
    unsigned *begun;
    unsigned count;
    char buf[16];
} Nested;

/* Whatever the order of completion, all but the last one find others missing. */
static void nested_done(AioIo *io)
{
    Nested *nested = aio_container_of(io, Nested, io);
    ++*nested->begun;
    test_poll_until(nested->ctx, *nested->begun == nested->count);
}

/* Every done() waits, by turning the loop, until all others have begun. */
static void test_nested_wait(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(100);
    Nested requests[8];
    unsigned begun = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        int64_t offset = i % 2 ? 0 : -1; /* the kernel never sees the latter */
        requests[i] = (Nested){.ctx = ctx, .begun = &begun, .count = G_N_ELEMENTS(requests)};
        aio_io_init_read(&requests[i].io, fd, requests[i].buf, sizeof(requests[i].buf), offset);
        aio_io_submit(ctx, &requests[i].io, nested_done);
    }
    test_poll_until(ctx, begun == G_N_ELEMENTS(requests));
    close(fd);
    aio_context_free(ctx);
}

/* Requests of several contexts at once, each with its own data. */
static void *context_thread(void *opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    AioContext *ctx = test_context_new();
    char data[3000], back[3000];
    AioIo io;

    for (unsigned i = 0; i < 200; i++) {
        test_fill(data, sizeof(data), i);
        aio_io_init_write(&io, fd, data, sizeof(data), i * 100);
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        aio_io_init_read(&io, fd, back, sizeof(back), i * 100);
        g_assert_cmpint(run_io(ctx, &io), ==, 0);
        g_assert_true(memcmp(data, back, sizeof(data)) == 0);
    }
    aio_context_free(ctx);
    return NULL;
}

static void test_many_contexts(void)
{
    GThread *threads[4];
    int fds[4];
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = temp_file(0);
        threads[i] = g_thread_new("io", context_thread, GINT_TO_POINTER(fds[i]));
    }
    for (unsigned i = 0; i < 4; i++) {
        g_thread_join(threads[i]);
        close(fds[i]);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io/A18-whole-transfer", test_whole_transfer);
    g_test_add_func("/io/D2-many-segments", test_many_segments);
    g_test_add_func("/io/A20-end-of-file", test_end_of_file);
    g_test_add_func("/io/D20-errors-unchanged", test_errors_unchanged);
    g_test_add_func("/io/bad-ranges", test_bad_ranges);
    g_test_add_func("/io/beyond-int-max", test_beyond_int_max);
    g_test_add_func("/io/A22-real-error-after-progress", test_real_error_after_progress);
    g_test_add_func("/io/A4-10k-requests", test_10k_requests);
    g_test_add_func("/io/A13-completes-in-submit", test_completes_in_submit);
    g_test_add_func("/io/E18-cached-read-one-enter", test_cached_read_one_enter);
    g_test_add_func("/io/D21-flush-covers-completed", test_flush_covers_completed);
    g_test_add_func("/io/A23-kinds", test_kinds);
    g_test_add_func("/io/A23-unknown-kind", test_unknown_kind);
    g_test_add_func("/io/C14-context-free-drains", test_context_free_drains);
    g_test_add_func("/io/A15-nested-wait", test_nested_wait);
    g_test_add_func("/io/many-contexts", test_many_contexts);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
