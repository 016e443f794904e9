/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the I/O engine calls done() (aio/io.c): for many requests, nested, at the very end. */
#include "aio/io.h"

#include <string.h>
#include <unistd.h>

#include "aio/pool.h"
#include "io-util.h"

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
    g_test_add_func("/io/A4-10k-requests", test_10k_requests);
    g_test_add_func("/io/A13-completes-in-submit", test_completes_in_submit);
    g_test_add_func("/io/E18-cached-read-one-enter", test_cached_read_one_enter);
    g_test_add_func("/io/C14-context-free-drains", test_context_free_drains);
    g_test_add_func("/io/A15-nested-wait", test_nested_wait);
    g_test_add_func("/io/many-contexts", test_many_contexts);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
