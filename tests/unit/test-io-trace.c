/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the I/O engine asks of the kernel: operations, flags, ranges, and what
 * the hot path costs.
 *
 * The linker lets this program stand between the engine and aio_ring_add(),
 * the system calls of the helper threads, and the allocators (--wrap).
 */
#include "aio/io.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/pool.h"
#include "io-util.h"

static struct io_uring_sqe traced_sqe;
static unsigned traced_sqes;
static bool tracing; /* inside aio_io_submit(): the loop queues SQEs of its own */
static _Atomic(const char *) traced_call;
static _Atomic int traced_flags;
static _Atomic unsigned allocations;

void __real_aio_ring_add(AioRing *ring, AioPrepareFn *prepare, void *opaque, CqeHandler *handler);
void __wrap_aio_ring_add(AioRing *ring, AioPrepareFn *prepare, void *opaque, CqeHandler *handler);

void __wrap_aio_ring_add(AioRing *ring, AioPrepareFn *prepare, void *opaque, CqeHandler *handler)
{
    if (tracing) {
        memset(&traced_sqe, 0, sizeof(traced_sqe));
        prepare(&traced_sqe, opaque);
        traced_sqes++;
    }
    __real_aio_ring_add(ring, prepare, opaque, handler);
}

#define TRACE_CALL(type, name, parameters, arguments, flags)                                       \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        traced_flags = (flags);                                                                    \
        traced_call = #name;                                                                       \
        return __real_##name arguments;                                                            \
    }

TRACE_CALL(ssize_t, pread64, (int fd, void *buf, size_t size, off_t offset),
           (fd, buf, size, offset), 0)
TRACE_CALL(ssize_t, pwrite64, (int fd, const void *buf, size_t size, off_t offset),
           (fd, buf, size, offset), 0)
TRACE_CALL(ssize_t, preadv64, (int fd, const struct iovec *iov, int count, off_t offset),
           (fd, iov, count, offset), 0)
TRACE_CALL(ssize_t, pwritev64, (int fd, const struct iovec *iov, int count, off_t offset),
           (fd, iov, count, offset), 0)
TRACE_CALL(ssize_t, pwritev64v2,
           (int fd, const struct iovec *iov, int count, off_t offset, int flags),
           (fd, iov, count, offset, flags), flags)
TRACE_CALL(int, fsync, (int fd), (fd), 0)
TRACE_CALL(int, fdatasync, (int fd), (fd), 0)
TRACE_CALL(int, fallocate64, (int fd, int mode, off_t offset, off_t length),
           (fd, mode, offset, length), mode)

#define COUNT_ALLOCATION(type, name, parameters, arguments)                                        \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        allocations++;                                                                             \
        return __real_##name arguments;                                                            \
    }

COUNT_ALLOCATION(void *, malloc, (size_t size), (size))
COUNT_ALLOCATION(void *, calloc, (size_t count, size_t size), (count, size))
COUNT_ALLOCATION(void *, realloc, (void *memory, size_t size), (memory, size))
COUNT_ALLOCATION(void *, g_malloc, (gsize size), (size))
COUNT_ALLOCATION(void *, g_malloc0, (gsize size), (size))
COUNT_ALLOCATION(void *, g_malloc_n, (gsize count, gsize size), (count, size))
COUNT_ALLOCATION(void *, g_realloc, (void *memory, gsize size), (memory, size))
COUNT_ALLOCATION(int, posix_memalign, (void **memory, size_t alignment, size_t size),
                 (memory, alignment, size))

/* What one request should become on either engine. */
typedef struct Expected {
    unsigned opcode;
    unsigned flags;
    const char *call;
    int call_flags;
} Expected;

static void check(AioContext *ctx, AioIo *io, const Expected *expected)
{
    traced_sqes = 0;
    traced_call = NULL;
    tracing = true;
    aio_io_submit(ctx, io, note_done);
    tracing = false;
    test_poll_until(ctx, is_done(io));
    g_assert_cmpint(io->result, ==, 0);
    if (aio_context_ring(ctx)) {
        g_assert_cmpuint(traced_sqes, ==, 1);
        g_assert_null(traced_call);
        g_assert_cmpuint(traced_sqe.opcode, ==, expected->opcode);
        g_assert_cmpuint((unsigned)traced_sqe.rw_flags, ==, expected->flags);
        g_assert_cmpuint(traced_sqe.flags, ==, 0); /* no drain, no link */
    } else {
        g_assert_cmpuint(traced_sqes, ==, 0);
        g_assert_cmpstr(traced_call, ==, expected->call);
        g_assert_cmpint(traced_flags, ==, expected->call_flags);
    }
}

static void test_kinds(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    char buf[100] = "";
    struct iovec iov[2] = {{buf, 50}, {buf + 50, 50}};
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    AioIo io;

    aio_io_init_read(&io, fd, buf, 100, 0);
    check(ctx, &io, &(Expected){IORING_OP_READ, 0, "pread64", 0});
    aio_io_init_readv(&io, fd, iov, 1, 0);
    check(ctx, &io, &(Expected){IORING_OP_READ, 0, "pread64", 0});
    aio_io_init_readv(&io, fd, iov, 2, 0);
    check(ctx, &io, &(Expected){IORING_OP_READV, 0, "preadv64", 0});
    aio_io_init_write(&io, fd, buf, 100, 0);
    check(ctx, &io, &(Expected){IORING_OP_WRITE, 0, "pwrite64", 0});
    aio_io_init_writev(&io, fd, iov, 2, 0);
    check(ctx, &io, &(Expected){IORING_OP_WRITEV, 0, "pwritev64", 0});

    aio_io_init_write(&io, fd, buf, 100, 0);
    io.flags = AIO_IO_FUA;
    check(ctx, &io, &(Expected){IORING_OP_WRITE, RWF_DSYNC, "pwritev64v2", RWF_DSYNC});
    aio_io_init_writev(&io, fd, iov, 2, 0);
    io.flags = AIO_IO_FUA | AIO_IO_APPEND;
    check(ctx, &io,
          &(Expected){IORING_OP_WRITEV, RWF_DSYNC | RWF_APPEND, "pwritev64v2",
                      RWF_DSYNC | RWF_APPEND});

    aio_io_init_fallocate(&io, fd, FALLOC_FL_KEEP_SIZE, 0, 4096);
    check(ctx, &io, &(Expected){IORING_OP_FALLOCATE, 0, "fallocate64", FALLOC_FL_KEEP_SIZE});
    aio_io_init_discard(&io, fd, 0, 4096);
    check(ctx, &io, &(Expected){IORING_OP_FALLOCATE, 0, "fallocate64", punch});
    close(fd);
    aio_context_free(ctx);
}

/* The opcode and the flag of a flush: the whole file, data only where that was asked for. */
static void test_flush(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    AioIo io;

    aio_io_init_fsync(&io, fd, true, 0, 0);
    check(ctx, &io, &(Expected){IORING_OP_FSYNC, IORING_FSYNC_DATASYNC, "fdatasync", 0});
    g_assert_cmpuint(traced_sqe.off, ==, 0);
    g_assert_cmpuint(traced_sqe.len, ==, 0);
    aio_io_init_fsync(&io, fd, false, 0, 0);
    check(ctx, &io, &(Expected){IORING_OP_FSYNC, 0, "fsync", 0});
    close(fd);
    aio_context_free(ctx);
}

/* A range where the kernel takes one; never less than what was asked for. */
static void test_flush_range(void)
{
    AioContext *ctx = test_context_new();
    int fd = temp_file(4096);
    const struct {
        int64_t offset;
        uint64_t length;
        uint64_t sqe_offset;
        uint32_t sqe_length;
    } table[] = {
        {1000, 2000, 1000, 2000},
        {0, 1, 0, 1},
        {INT64_C(1) << 40, UINT32_MAX, UINT64_C(1) << 40, UINT32_MAX},
        {4096, 0, 0, 0},                        /* to the end: the file */
        {4096, (uint64_t)UINT32_MAX + 1, 0, 0}, /* more than fits: the file */
    };

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(table); i++) {
        bool datasync = i % 2;
        AioIo io;
        aio_io_init_fsync(&io, fd, datasync, table[i / 2].offset, table[i / 2].length);
        check(ctx, &io,
              &(Expected){IORING_OP_FSYNC, datasync ? IORING_FSYNC_DATASYNC : 0,
                          datasync ? "fdatasync" : "fsync", 0});
        if (aio_context_ring(ctx)) {
            g_assert_cmpuint(traced_sqe.off, ==, table[i / 2].sqe_offset);
            g_assert_cmpuint(traced_sqe.len, ==, table[i / 2].sqe_length);
        }
    }
    close(fd);
    aio_context_free(ctx);
}

/* Whole transfers on the ring: no allocation, one system call per batch. */
static void test_hot_path(void)
{
    enum { DEPTH = 64, ROUNDS = 20 };
    AioContext *ctx = test_context_new();
    int fd = temp_file(DEPTH * 512);
    static char bufs[DEPTH][512];
    AioIo ios[DEPTH];
    AioStats before, after;

    if (!aio_context_ring(ctx)) {
        g_test_skip("no ring");
        close(fd);
        aio_context_free(ctx);
        return;
    }
    for (unsigned round = 0; round < 2 + ROUNDS; round++) {
        if (round == 2) { /* pages are cached, tables have their size */
            aio_context_get_stats(ctx, &before);
            allocations = 0;
        }
        for (unsigned i = 0; i < DEPTH; i++) {
            aio_io_init_read(&ios[i], fd, bufs[i], sizeof(bufs[i]), i * 512);
            aio_io_submit(ctx, &ios[i], note_done);
        }
        for (unsigned i = 0; i < DEPTH; i++) {
            test_poll_until(ctx, is_done(&ios[i]));
        }
    }
    g_assert_cmpuint(allocations, ==, 0);
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.sqes - before.sqes, ==, DEPTH * ROUNDS);
    g_assert_cmpuint(after.enters - before.enters, ==, ROUNDS);
    close(fd);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io-trace/A23-kinds", test_kinds);
    g_test_add_func("/io-trace/A24-flush", test_flush);
    g_test_add_func("/io-trace/E14-flush-range", test_flush_range);
    g_test_add_func("/io-trace/D2-hot-path", test_hot_path);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
