/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block nodes on real files: ranges, slices, status, locks, and writers that share blocks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>

#include "aio/coroutine.h"
#include "aio/io-fault.h"
#include "fs/block/image-lock.h"
#include "fs/block/open.h"
#include "fs/block/raw.h"
#include "fs/block/slice.h"
#include "util.h"

typedef struct Op {
    BlockRequest request;
    bool done;
} Op;

static void op_done(BlockRequest *request)
{
    ((Op *)request->opaque)->done = true;
}

/* Run what has been initialised; its result. */
static int op_run(AioContext *ctx, BlockNode *node, Op *op)
{
    op->done = false;
    op->request.opaque = op;
    block_submit(node, &op->request, op_done);
    test_poll_until(ctx, op->done);
    return op->request.result;
}

static int run(AioContext *ctx, BlockNode *node, BlockOp kind, void *buffer, uint64_t length,
               int64_t offset, unsigned flags)
{
    Op op;

    block_request_init(&op.request, kind, buffer, length, offset);
    op.request.flags = flags;
    return op_run(ctx, node, &op);
}

/* A node over a new file; NULL if the file system has no direct I/O. */
static BlockNode *new_node(size_t size, bool direct)
{
    g_autoptr(GError) error = NULL;
    int fd = test_temp_file(size, direct ? O_DIRECT : 0);
    BlockNode *node;

    if (fd < 0 && direct) {
        return NULL;
    }
    g_assert_cmpint(fd, >=, 0);
    node = block_raw_new(fd, "test", false, direct, &error);
    g_assert_no_error(error);
    return node;
}

static void test_checks(void)
{
    AioContext *ctx = test_context_new();
    BlockNode *node = new_node(10000, false);
    char buffer[512] = {0};

    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 512, 9488, 0), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 512, 9489, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 1, -1, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 512, INT64_MAX, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, buffer, 512, 9489, 0), ==, -ENOSPC);
    g_assert_cmpint(run(ctx, node, BLOCK_ZERO, NULL, 10001, 0, 0), ==, -ENOSPC);
    g_assert_cmpint(run(ctx, node, BLOCK_ZERO, NULL, UINT64_MAX, 1, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_DISCARD, NULL, 1, 10000, 0), ==, -ENOSPC);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 0, 10000, 0), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_FLUSH, NULL, 0, 0, 0), ==, 0);
    node->read_only = true;
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, buffer, 1, 0, 0), ==, -EROFS);
    g_assert_cmpint(run(ctx, node, BLOCK_ZERO, NULL, 1, 0, 0), ==, -EROFS);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 1, 0, 0), ==, 0);
    g_assert_cmpint(block_read_now(node, buffer, 2, 9999), ==, -EINVAL);
    g_assert_cmpint(block_read_now(node, buffer, 1, 9999), ==, 0);
    block_node_unref(node);
    aio_context_free(ctx);
}

static void test_grow(void)
{
    AioContext *ctx = test_context_new();
    BlockNode *node = new_node(5000, false), *fixed = new_node(5000, false);
    g_autoptr(GError) error = NULL;
    BlockNode *slice = block_slice_new(node, "slice", 0, 5000, &error);
    char buffer[4096], zeros[4096] = {0};

    g_assert_no_error(error);
    fixed->read_only = true;
    g_assert_cmpint(run(ctx, node, BLOCK_GROW, NULL, 0, 4999, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_GROW, NULL, 0, -1, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, fixed, BLOCK_GROW, NULL, 0, 6000, 0), ==, -EROFS);
    g_assert_cmpint(run(ctx, slice, BLOCK_GROW, NULL, 0, 6000, 0), ==, -EOPNOTSUPP);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 4096, 5000, 0), ==, -EINVAL);
    g_assert_cmpint(run(ctx, node, BLOCK_GROW, NULL, 0, 1000000, 0), ==, 0);
    g_assert_cmpint(block_node_size(node), ==, 1000000);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, 4096, 5000, 0), ==, 0);
    g_assert_cmpmem(buffer, 4096, zeros, 4096);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, buffer, 4096, 1000000 - 4096, 0), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, buffer, 4096, 1000000 - 4095, 0), ==, -ENOSPC);
    g_assert_cmpint(block_node_size(slice), ==, 5000);
    block_node_unref(slice);
    block_node_unref(fixed);
    block_node_unref(node);
    aio_context_free(ctx);
}

static void test_slice(void)
{
    AioContext *ctx = test_context_new();
    BlockNode *node = new_node(4096, false);
    char whole[4096], expected[4096], buffer[4096];
    g_autoptr(GError) error = NULL;

    test_fill(expected, sizeof(expected), 1);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, expected, 4096, 0, 0), ==, 0);
    BlockNode *outer = block_slice_new(node, "outer", 1000, 2000, &error);
    g_assert_no_error(error);
    BlockNode *inner = block_slice_new(outer, "inner", 500, 1500, &error);
    g_assert_no_error(error);
    int64_t offset;
    g_assert_true(block_slice_bottom(inner, &offset) == node);
    g_assert_cmpint(offset, ==, 1500);

    test_fill(buffer, 1500, 2);
    memcpy(expected + 1500, buffer, 1500);
    g_assert_cmpint(run(ctx, inner, BLOCK_WRITE, buffer, 1500, 0, BLOCK_FUA), ==, 0);
    g_assert_cmpint(run(ctx, inner, BLOCK_WRITE, buffer, 1500, 1, 0), ==, -ENOSPC);
    memset(expected + 2999, 0, 1);
    g_assert_cmpint(run(ctx, inner, BLOCK_ZERO, NULL, 1, 1499, BLOCK_MAY_UNMAP), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_READ, whole, 4096, 0, 0), ==, 0);
    g_assert_cmpmem(whole, 4096, expected, 4096);
    g_assert_cmpint(block_read_now(inner, buffer, 1500, 0), ==, 0);
    g_assert_cmpmem(buffer, 1500, expected + 1500, 1500);

    static const int64_t bad[][2] = {{-1, 1},   {0, -1},        {0, 4097},
                                     {4097, 0}, {1, INT64_MAX}, {INT64_MAX, INT64_MAX}};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) bad_error = NULL;

        g_assert_null(block_slice_new(node, "bad", bad[i][0], bad[i][1], &bad_error));
        g_assert_error(bad_error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
    }
    /* The inner ones keep the outer ones. */
    block_node_unref(node);
    block_node_unref(outer);
    g_assert_cmpint(run(ctx, inner, BLOCK_READ, buffer, 1500, 0, 0), ==, 0);
    block_node_unref(inner);
    aio_context_free(ctx);
}

static void test_status(void)
{
    AioContext *ctx = test_context_new();
    BlockNode *node = new_node(1024 * 1024, false);
    char *data = g_malloc(65536);
    int64_t at = 0, bytes = 0;
    Op op;

    memset(data, 1, 65536);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, data, 65536, 512 * 1024, 0), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_FLUSH, NULL, 0, 0, 0), ==, 0);
    /* Whatever the file system says, the data is told as data, and the runs cover everything. */
    while (at < node->size) {
        block_request_init(&op.request, BLOCK_STATUS, NULL, (uint64_t)(node->size - at), at);
        g_assert_cmpint(op_run(ctx, node, &op), ==, 0);
        g_assert_cmpuint(op.request.run, >, 0);
        g_assert_cmpuint(op.request.run, <=, (uint64_t)(node->size - at));
        int64_t from = MAX(at, 512 * 1024), to = MIN(at + (int64_t)op.request.run, 576 * 1024);
        if (from < to && op.request.status & BLOCK_STATUS_DATA) {
            bytes += to - from;
        }
        at += (int64_t)op.request.run;
    }
    g_assert_cmpint(bytes, ==, 65536);
    g_free(data);
    block_node_unref(node);
    aio_context_free(ctx);
}

/* Zeros, large enough for several steps where the file system cannot make them itself. */
static void test_zero(gconstpointer direct)
{
    const size_t size = 3 * 1024 * 1024 + 777;
    BlockNode *node = new_node(size, GPOINTER_TO_INT(direct));
    AioContext *ctx;
    char *buffer, *expected;

    if (node == NULL) {
        g_test_skip("no direct I/O here");
        return;
    }
    ctx = test_context_new();
    buffer = g_malloc(size);
    expected = g_malloc(size);
    test_fill(expected, size, 3);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, expected, size, 0, 0), ==, 0);
    for (unsigned i = 0; i < 4; i++) {
        int64_t offset = 100 + (int64_t)i * 700001;
        uint64_t length = 650000 + i;

        memset(expected + offset, 0, length);
        g_assert_cmpint(run(ctx, node, BLOCK_ZERO, NULL, length, offset,
                            (i & 1 ? BLOCK_MAY_UNMAP : 0) | (i & 2 ? BLOCK_FUA : 0)),
                        ==, 0);
    }
    g_assert_cmpint(run(ctx, node, BLOCK_READ, buffer, size, 0, 0), ==, 0);
    g_assert_cmpmem(buffer, size, expected, size);
    g_free(buffer);
    g_free(expected);
    block_node_unref(node);
    aio_context_free(ctx);
}

/* --- several threads, whose bytes alternate within every block --- */

#define STRIPE  97
#define SIZE    (64 * 1024 + 13)
#define THREADS 3
#define ROUNDS  400

typedef struct Writer {
    BlockNode *node;
    unsigned index;
    bool faults;
} Writer;

static bool is_mine(const Writer *writer, size_t offset)
{
    return offset / STRIPE % THREADS == writer->index;
}

static gpointer write_stripes(gpointer opaque)
{
    Writer *writer = opaque;
    AioContext *ctx = test_context_new();
    GRand *random = g_rand_new_with_seed(writer->index + 1);
    char *model = g_malloc0(SIZE), *buffer = g_malloc(SIZE);

    if (writer->faults) {
        const AioIoFaults faults = {
            .seed = writer->index, .short_permille = 200, .eagain_permille = 100};
        aio_io_set_faults(ctx, &faults);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t stripe = (size_t)g_rand_int_range(random, 0, SIZE / STRIPE / THREADS - 1);
        size_t begin = (stripe * THREADS + writer->index) * STRIPE;
        size_t skip = (size_t)g_rand_int_range(random, 0, STRIPE);
        size_t length = (size_t)g_rand_int_range(random, 1, (gint32)(STRIPE - skip) + 1);

        switch (g_rand_int_range(random, 0, 8)) {
        case 0:
            memset(model + begin + skip, 0, length);
            g_assert_cmpint(run(ctx, writer->node, BLOCK_ZERO, NULL, length,
                                (int64_t)(begin + skip), BLOCK_MAY_UNMAP),
                            ==, 0);
            break;
        case 1:
            g_assert_cmpint(run(ctx, writer->node, BLOCK_READ, buffer, SIZE, 0, 0), ==, 0);
            for (size_t i = 0; i < SIZE; i++) {
                g_assert_true(!is_mine(writer, i) || buffer[i] == model[i]);
            }
            break;
        default:
            test_fill(model + begin + skip, length, round);
            g_assert_cmpint(run(ctx, writer->node, BLOCK_WRITE, model + begin + skip, length,
                                (int64_t)(begin + skip), round % 16 == 0 ? BLOCK_FUA : 0),
                            ==, 0);
            break;
        }
    }
    aio_io_set_faults(ctx, NULL);
    g_assert_cmpint(run(ctx, writer->node, BLOCK_READ, buffer, SIZE, 0, 0), ==, 0);
    for (size_t i = 0; i < SIZE; i++) {
        g_assert_true(!is_mine(writer, i) || buffer[i] == model[i]);
    }
    g_free(model);
    g_free(buffer);
    g_rand_free(random);
    aio_context_free(ctx);
    return NULL;
}

static void shared_blocks(bool direct, bool faults)
{
    BlockNode *node = new_node(SIZE, direct);
    Writer writers[THREADS];
    GThread *threads[THREADS];

    if (node == NULL) {
        g_test_skip("no direct I/O here");
        return;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (Writer){.node = node, .index = i, .faults = faults};
        threads[i] = g_thread_new("writer", write_stripes, &writers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    block_node_unref(node);
}

static void test_shared_cached(void)
{
    shared_blocks(false, false);
}

static void test_shared_direct(void)
{
    shared_blocks(true, false);
}

static void test_shared_faults(void)
{
    shared_blocks(true, true);
}

/* --- in a coroutine --- */

typedef struct Script {
    BlockNode *node;
    bool done;
} Script;

static void script(void *opaque)
{
    Script *self = opaque;
    char out[1000], in[1000];

    test_fill(out, sizeof(out), 9);
    g_assert_cmpint(block_co_write(self->node, out, sizeof(out), 123, 0), ==, 0);
    g_assert_cmpint(block_co_flush(self->node), ==, 0);
    g_assert_cmpint(block_co_read(self->node, in, sizeof(in), 123), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpint(block_co_read(self->node, in, 1, self->node->size), ==, -EINVAL);
    self->done = true;
}

static void test_coroutine(void)
{
    AioContext *ctx = test_context_new();
    Script self = {.node = new_node(8192, false)};

    aio_co_enter(aio_co_new(script, &self));
    test_poll_until(ctx, self.done);
    block_node_unref(self.node);
    aio_context_free(ctx);
}

/* --- opening and locking --- */

typedef struct Image {
    char *path;
    BlockOpenParams params;
} Image;

static void image_setup(Image *image, gconstpointer unused)
{
    int fd = g_file_open_tmp("sluice-image-XXXXXX", &image->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, 1 << 20), ==, 0);
    close(fd);
    block_open_params_init(&image->params);
}

static void image_teardown(Image *image, gconstpointer unused)
{
    unlink(image->path);
    g_free(image->path);
}

static BlockNode *image_open(const Image *image, BlockAccess access)
{
    BlockOpenParams params = image->params;
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    params.access = access;
    node = block_open(image->path, &params, &error);
    g_assert_no_error(error);
    return node;
}

static void image_refused(const Image *image, BlockAccess access, int code, const char *text)
{
    BlockOpenParams params = image->params;
    g_autoptr(GError) error = NULL;

    params.access = access;
    g_assert_null(block_open(image->path, &params, &error));
    g_assert_error(error, G_IO_ERROR, code);
    g_assert_true(strstr(error->message, image->path) != NULL);
    if (strstr(error->message, text) == NULL) {
        g_error("'%s' does not say '%s'", error->message, text);
    }
}

static void test_lock(Image *image, gconstpointer unused)
{
    BlockNode *reader = image_open(image, BLOCK_ACCESS_READ_ONLY);
    BlockNode *second = image_open(image, BLOCK_ACCESS_READ_ONLY);

    image_refused(image, BLOCK_ACCESS_READ_WRITE, G_IO_ERROR_BUSY, "used by");
    block_node_unref(reader);
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_BUSY, "used by");
    block_node_unref(second);
    BlockNode *writer = image_open(image, BLOCK_ACCESS_READ_WRITE);
    image_refused(image, BLOCK_ACCESS_READ_ONLY, G_IO_ERROR_BUSY, "written to by");
    image_refused(image, BLOCK_ACCESS_READ_WRITE, G_IO_ERROR_BUSY, "used by");
    block_node_unref(writer);
    block_node_unref(image_open(image, BLOCK_ACCESS_READ_WRITE));
}

static void test_lock_holder(Image *image, gconstpointer unused)
{
    int ready[2], quit[2];
    char byte;

    g_assert_cmpint(pipe(ready), ==, 0);
    g_assert_cmpint(pipe(quit), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        BlockNode *node;

        close(quit[1]);
        node = image_open(image, BLOCK_ACCESS_READ_WRITE);
        if (write(ready[1], "x", 1) == 1 && read(quit[0], &byte, 1) == 0) {
            block_node_unref(node);
        }
        _exit(0);
    }
    close(quit[0]);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    g_autofree char *holder = g_strdup_printf("process %d ", (int)child);
    image_refused(image, BLOCK_ACCESS_READ_WRITE, G_IO_ERROR_BUSY, holder);
    /* It ends while we wait. */
    image->params.wait_seconds = 60;
    close(quit[1]);
    block_node_unref(image_open(image, BLOCK_ACCESS_READ_WRITE));
    g_assert_cmpint(waitpid(child, NULL, 0), ==, child);
    close(ready[0]);
    close(ready[1]);
}

static void test_open(Image *image, gconstpointer unused)
{
    static const char vmdk[] = "KDMV\1\0\0\0", qcow2[] = "QFI\xfb\0\0\0\3";
    g_autofree char *missing = g_strconcat(image->path, ".none", NULL);
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    image->params.offset = 1000;
    image->params.length = 500;
    node = image_open(image, BLOCK_ACCESS_AUTO);
    g_assert_cmpint(block_node_size(node), ==, 500);
    block_node_unref(node);
    image->params.length = -1;
    node = image_open(image, BLOCK_ACCESS_AUTO);
    g_assert_cmpint(block_node_size(node), ==, (1 << 20) - 1000);
    block_node_unref(node);
    image->params.offset = (1 << 20) + 1;
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_INVALID_ARGUMENT, "leaves nothing");
    image->params.offset = 1 << 20; /* an empty disk is no use, and cannot grow */
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_INVALID_ARGUMENT, "leaves nothing");
    image->params.offset = 0;
    image->params.length = 0;
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_INVALID_ARGUMENT, "size=0 leaves nothing");
    image->params.length = (1 << 20) + 1;
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_INVALID_ARGUMENT, "do not lie inside");
    block_open_params_init(&image->params);

    /* A piece is raw whatever is in it: nobody can plant a format there. */
    char piece[8192] = {0};
    memcpy(piece + 4096, qcow2, sizeof(qcow2));
    g_assert_true(g_file_set_contents(image->path, piece, sizeof(piece), NULL));
    image->params.offset = 4096;
    node = image_open(image, BLOCK_ACCESS_READ_WRITE);
    g_assert_cmpint(block_node_size(node), ==, 4096);
    block_node_unref(node);
    image->params.format = BLOCK_FORMAT_QCOW2;
    image_refused(image, BLOCK_ACCESS_READ_ONLY, G_IO_ERROR_NOT_SUPPORTED, "clusters");
    block_open_params_init(&image->params);

    g_assert_true(g_file_set_contents(image->path, vmdk, sizeof(vmdk), NULL));
    image_refused(image, BLOCK_ACCESS_AUTO, G_IO_ERROR_NOT_SUPPORTED, "format=raw");
    image->params.format = BLOCK_FORMAT_RAW;
    block_node_unref(image_open(image, BLOCK_ACCESS_READ_WRITE));
    g_assert_true(g_file_set_contents(image->path, qcow2, sizeof(qcow2), NULL));
    image->params.format = BLOCK_FORMAT_AUTO;
    image_refused(image, BLOCK_ACCESS_READ_ONLY, G_IO_ERROR_NOT_SUPPORTED, "too short");
    image_refused(image, BLOCK_ACCESS_READ_WRITE, G_IO_ERROR_NOT_SUPPORTED, "too short");

    g_assert_null(block_open(missing, &image->params, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_null(block_open("/", &image->params, &error));
    g_assert_error(error, G_IO_ERROR, G_IO_ERROR_IS_DIRECTORY);
    g_clear_error(&error);
    g_assert_null(block_open("/dev/null", &image->params, &error));
    g_assert_nonnull(error);
}

/* Who may write to a raw image must not be able to make it one of another format. */
static void test_guard(Image *image, gconstpointer unused)
{
    static char qcow2[] = "QFI\xfb\0\0\0\3";
    AioContext *ctx = test_context_new();
    BlockNode *node = image_open(image, BLOCK_ACCESS_READ_WRITE);
    struct iovec iov[2] = {{qcow2, 2}, {qcow2 + 2, 6}};
    Op op;

    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*first bytes*");
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2, 8, 0, 0), ==, -EPERM);
    g_test_assert_expected_messages();
    block_request_init_vector(&op.request, BLOCK_WRITE, iov, 2, 0);
    g_assert_cmpint(op_run(ctx, node, &op), ==, -EPERM);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2, 3, 0, 0), ==, -EPERM);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2 + 3, 5, 3, 0), ==, -EPERM);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2 + 4, 4, 4, 0), ==, 0);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2 + 1, 7, 0, 0), ==, 0);
    block_node_unref(node);

    image->params.format = BLOCK_FORMAT_RAW;
    node = image_open(image, BLOCK_ACCESS_READ_WRITE);
    g_assert_cmpint(run(ctx, node, BLOCK_WRITE, qcow2, 8, 0, 0), ==, 0);
    block_node_unref(node);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/block/checks", test_checks);
    g_test_add_func("/block/grow", test_grow);
    g_test_add_func("/block/slice", test_slice);
    g_test_add_func("/block/status", test_status);
    g_test_add_data_func("/block/zero/cached", GINT_TO_POINTER(false), test_zero);
    g_test_add_data_func("/block/zero/direct", GINT_TO_POINTER(true), test_zero);
    g_test_add_func("/block/shared-blocks/cached", test_shared_cached);
    g_test_add_func("/block/shared-blocks/direct", test_shared_direct);
    g_test_add_func("/block/shared-blocks/faults", test_shared_faults);
    g_test_add_func("/block/coroutine", test_coroutine);
    g_test_add("/block/lock", Image, NULL, image_setup, test_lock, image_teardown);
    g_test_add("/block/lock-holder", Image, NULL, image_setup, test_lock_holder, image_teardown);
    g_test_add("/block/guard", Image, NULL, image_setup, test_guard, image_teardown);
    g_test_add("/block/open", Image, NULL, image_setup, test_open, image_teardown);
    return g_test_run();
}
