/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qcow2 images made by hand: what they hold, and what becomes of them when any byte is wrong. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <gio/gio.h>

#include "fs/block/qcow2-writer.h"
#include "fs/block/qcow2.h"
#include "fs/block/raw.h"
#include "util.h"

/* The image: 4 KiB clusters, header | L1 | L2 | refcounts... | data | compressed */
#define BITS     12
#define CLUSTER  (1u << BITS)
#define CLUSTERS 8
#define L1_AT    (1 * CLUSTER)
#define L2_AT    (2 * CLUSTER)
#define DATA_AT  (3 * CLUSTER)
#define PACKED   (5 * CLUSTER + 100)
#define TABLE_AT (7 * CLUSTER)
#define BLOCK_AT (8 * CLUSTER)
#define LENGTH   (9 * CLUSTER)

static void put32(uint8_t *image, size_t at, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(image + at, &value, sizeof(value));
}

static void put64(uint8_t *image, size_t at, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(image + at, &value, sizeof(value));
}

static size_t pack(const uint8_t *from, uint8_t *to, size_t room)
{
    z_stream stream = {0};

    g_assert_cmpint(
        deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), ==,
        Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)from;
    stream.avail_in = CLUSTER;
    stream.next_out = to;
    stream.avail_out = (uInt)room;
    g_assert_cmpint(deflate(&stream, Z_FINISH), ==, Z_STREAM_END);
    deflateEnd(&stream);
    return stream.total_out;
}

/*
 * Clusters of the disk: 0, 1 data (next to each other), 2 zero, 3 not there, 4 data that
 * reads as zero, 5 compressed, 6 not there, 7 (half a cluster) data.
 */
static void make_image(uint8_t *image, uint8_t *disk)
{
    size_t packed, size = CLUSTERS * CLUSTER - CLUSTER / 2;

    memset(image, 0, LENGTH);
    memset(disk, 0, size);
    put32(image, 0, 0x514649fb);
    put32(image, 4, 3);
    put32(image, 20, BITS);
    put64(image, 24, size);
    put32(image, 36, 1);
    put64(image, 40, L1_AT);
    put64(image, 48, TABLE_AT);
    put64(image, TABLE_AT, BLOCK_AT);
    for (size_t i = 0; i < LENGTH / CLUSTER; i++) {
        image[BLOCK_AT + 2 * i + 1] = 1;
    }
    put32(image, 56, 1);
    put32(image, 96, 4);
    put32(image, 100, 104);
    put64(image, L1_AT, L2_AT | UINT64_C(1) << 63);

    test_fill(disk, 2 * CLUSTER, 1);
    memcpy(image + DATA_AT, disk, 2 * CLUSTER);
    put64(image, L2_AT, DATA_AT | UINT64_C(1) << 63);
    put64(image, L2_AT + 8, (DATA_AT + CLUSTER) | UINT64_C(1) << 63);
    put64(image, L2_AT + 16, 1);
    put64(image, L2_AT + 32, (DATA_AT + CLUSTER) | UINT64_C(1) << 63 | 1);
    for (size_t i = 0; i < CLUSTER; i++) {
        disk[5 * CLUSTER + i] = (uint8_t)(i / 100);
    }
    packed = pack(disk + 5 * CLUSTER, image + PACKED, CLUSTER);
    put64(image, L2_AT + 40,
          UINT64_C(1) << 62 | PACKED |
              (uint64_t)((PACKED + packed - 1) / 512 - PACKED / 512) << (62 - (BITS - 8)));
    test_fill(disk + 7 * CLUSTER, CLUSTER / 2, 2);
    memcpy(image + 6 * CLUSTER, disk + 7 * CLUSTER, CLUSTER / 2);
    put64(image, L2_AT + 56, 6 * CLUSTER | UINT64_C(1) << 63);
}

static BlockNode *raw_of(const uint8_t *bytes, size_t length, bool read_only)
{
    g_autoptr(GError) error = NULL;
    int fd = test_temp_file(0, 0);
    BlockNode *node;

    g_assert_cmpint(pwrite(fd, bytes, length, 0), ==, (ssize_t)length);
    node = block_raw_new(fd, "test", read_only, false, &error);
    g_assert_no_error(error);
    return node;
}

static void set_done(BlockRequest *request)
{
    *(bool *)request->opaque = true;
}

static int run(AioContext *ctx, BlockNode *node, BlockRequest *request)
{
    bool done = false;

    request->opaque = &done;
    block_submit(node, request, set_done);
    test_poll_until(ctx, done);
    return request->result;
}

static int read_at(AioContext *ctx, BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_READ, buffer, length, offset);
    return run(ctx, node, &request);
}

static void test_read(void)
{
    AioContext *ctx = test_context_new();
    uint8_t image[LENGTH], disk[CLUSTERS * CLUSTER], buffer[CLUSTERS * CLUSTER];
    g_autoptr(GError) error = NULL;
    GRand *random = g_rand_new_with_seed(3);

    make_image(image, disk);
    BlockNode *file = raw_of(image, LENGTH, true);
    BlockNode *node = block_qcow2_new(file, NULL, "test", false, 0, &error);
    g_assert_no_error(error);
    const size_t size = (size_t)block_node_size(node);
    g_assert_cmpuint(size, ==, CLUSTERS * CLUSTER - CLUSTER / 2);
    for (unsigned i = 0; i < 500; i++) {
        size_t offset = (size_t)g_rand_int_range(random, 0, (gint32)size);
        size_t length = (size_t)g_rand_int_range(random, 1, (gint32)(size - offset) + 1);

        memset(buffer, 0xee, sizeof(buffer));
        g_assert_cmpint(read_at(ctx, node, buffer, length, (int64_t)offset), ==, 0);
        g_assert_cmpmem(buffer, length, disk + offset, length);
    }
    /* In pieces of memory that do not fit the clusters. */
    struct iovec iov[3] = {{buffer, 1000}, {buffer + 1000, 9000}, {buffer + 10000, size - 10000}};
    BlockRequest request;
    memset(buffer, 0xee, sizeof(buffer));
    block_request_init_vector(&request, BLOCK_READ, iov, 3, 0);
    g_assert_cmpint(run(ctx, node, &request), ==, 0);
    g_assert_cmpmem(buffer, size, disk, size);
    g_assert_cmpint(read_at(ctx, node, buffer, 1, (int64_t)size), ==, -EINVAL);
    /* While it is being opened. */
    g_assert_cmpint(block_read_now(node, buffer, size, 0), ==, 0);
    g_assert_cmpmem(buffer, size, disk, size);

    g_rand_free(random);
    block_node_unref(node);
    block_node_unref(file);
    aio_context_free(ctx);
}

static void test_backing(void)
{
    AioContext *ctx = test_context_new();
    uint8_t image[LENGTH], disk[CLUSTERS * CLUSTER], below[4 * CLUSTER - 100];
    uint8_t buffer[CLUSTERS * CLUSTER];
    g_autoptr(GError) error = NULL;

    make_image(image, disk);
    test_fill(below, sizeof(below), 5);
    BlockNode *file = raw_of(image, LENGTH, true);
    BlockNode *backing = raw_of(below, sizeof(below), true);
    BlockNode *node = block_qcow2_new(file, backing, "test", false, 0, &error);
    g_assert_no_error(error);
    /* Cluster 3 is the backing file's, as far as that goes; 6 lies behind its end. */
    memcpy(disk + 3 * CLUSTER, below + 3 * CLUSTER, CLUSTER - 100);
    memset(buffer, 0xee, sizeof(buffer));
    g_assert_cmpint(read_at(ctx, node, buffer, (size_t)node->size, 0), ==, 0);
    g_assert_cmpmem(buffer, (size_t)node->size, disk, (size_t)node->size);
    block_node_unref(node);
    block_node_unref(backing);
    block_node_unref(file);
    aio_context_free(ctx);
}

/* The header's fields, each with values that must be refused. */
static void test_header(void)
{
    static const struct {
        size_t at;
        uint32_t value;
    } bad[] = {
        {0, 0x514649fa},  {4, 1},           {4, 4},           {20, 8},           {20, 22},
        {20, 0xffffffff}, {24, 0x80000000}, {24, 0x7fffffff}, {32, 1},           {36, 0},
        {36, 0xffffffff}, {40, 0x80000000}, {44, 1},          {48, 0xffffffff},  {52, 512},
        {56, 0xffffffff}, {76, 4},          {76, 16},         {76, 32},          {72, 1},
        {96, 7},          {100, 100},       {100, 105},       {100, 0xffffff00},
    };
    uint8_t image[LENGTH], disk[CLUSTERS * CLUSTER];

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        Qcow2Header header;

        make_image(image, disk);
        put32(image, bad[i].at, bad[i].value);
        if (block_qcow2_header_parse(image, CLUSTER, &header, &error)) {
            g_error("%u at %zu is not refused", bad[i].value, bad[i].at);
        }
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED);
    }
    for (size_t length = 0; length < 104; length++) {
        g_autoptr(GError) error = NULL;
        g_autofree uint8_t *exact = g_memdup2(image, length);
        Qcow2Header header;

        make_image(image, disk);
        g_assert_false(block_qcow2_header_parse(exact, length, &header, &error));
    }
}

/* Extensions and the backing name, also where they do not fit. */
static void test_extensions(void)
{
    static const char raw[3] = {'r', 'a', 'w'}, base[4] = {'b', 'a', 's', 'e'};
    uint8_t image[LENGTH], disk[CLUSTERS * CLUSTER];
    Qcow2Header header;
    g_autoptr(GError) error = NULL;

    make_image(image, disk);
    put32(image, 104, 0xe2792aca);
    put32(image, 108, 3);
    memcpy(image + 112, raw, sizeof(raw));
    put64(image, 8, 200);
    put32(image, 16, 4);
    memcpy(image + 200, base, sizeof(base));
    g_assert_true(block_qcow2_header_parse(image, CLUSTER, &header, &error));
    g_assert_cmpstr(header.backing_name, ==, "base");
    g_assert_cmpstr(header.backing_format, ==, "raw");
    block_qcow2_header_clear(&header);
    put32(image, 108, CLUSTER);
    g_assert_false(block_qcow2_header_parse(image, CLUSTER, &header, &error));
    g_clear_error(&error);
    put32(image, 108, 3);
    put64(image, 8, CLUSTER - 3);
    g_assert_false(block_qcow2_header_parse(image, CLUSTER, &header, &error));
    g_clear_error(&error);
    put64(image, 8, UINT64_MAX);
    g_assert_false(block_qcow2_header_parse(image, CLUSTER, &header, &error));
}

/* Write, zero, discard or flush; what comes of it does not matter. */
static void change_at(AioContext *ctx, BlockNode *node, unsigned what, void *buffer, size_t length,
                      int64_t offset)
{
    static const BlockOp ops[] = {BLOCK_WRITE, BLOCK_ZERO, BLOCK_DISCARD, BLOCK_FLUSH};
    BlockRequest request;

    block_request_init(&request, ops[what % G_N_ELEMENTS(ops)], buffer, length, offset);
    g_assert_cmpint(run(ctx, node, &request), <=, 0);
}

/* --- several workers that write --- */

#define WRITERS 3

typedef struct Writer {
    BlockNode *node;
    unsigned index, rounds;
    size_t part;    /* bytes of the disk for each */
    uint8_t *model; /* of his */
} Writer;

static gpointer write_part(gpointer opaque)
{
    Writer *writer = opaque;
    AioContext *ctx = test_context_new();
    GRand *random = g_rand_new_with_seed(writer->index + 21);
    const int64_t begin = (int64_t)(writer->index * writer->part);
    g_autofree uint8_t *buffer = g_malloc(writer->part);

    for (unsigned i = 0; i < writer->rounds; i++) {
        size_t offset = (size_t)g_rand_int_range(random, 0, (gint32)writer->part);
        size_t length = (size_t)g_rand_int_range(random, 1, 10000);
        BlockRequest request;

        length = MIN(length, writer->part - offset);
        switch (g_rand_int_range(random, 0, 6)) {
        case 0:
            memset(writer->model + offset, 0, length);
            block_request_init(&request, BLOCK_ZERO, NULL, length, begin + (int64_t)offset);
            request.flags = BLOCK_MAY_UNMAP;
            break;
        case 1:
            block_request_init(&request, BLOCK_FLUSH, NULL, 0, 0);
            break;
        case 2:
            block_request_init(&request, BLOCK_READ, buffer, length, begin + (int64_t)offset);
            break;
        default:
            test_fill(writer->model + offset, length, i);
            block_request_init(&request, BLOCK_WRITE, writer->model + offset, length,
                               begin + (int64_t)offset);
            request.flags = i % 8 == 0 ? BLOCK_FUA : 0;
            break;
        }
        g_assert_cmpint(run(ctx, writer->node, &request), ==, 0);
        if (request.op == BLOCK_READ) {
            g_assert_cmpmem(buffer, length, writer->model + offset, length);
        }
    }
    g_rand_free(random);
    aio_context_free(ctx);
    return NULL;
}

/* Writers change the image in @file, each @part bytes; what is there after that is in @disk. */
static void write_all(BlockNode *file, uint8_t *disk, size_t part, unsigned rounds)
{
    g_autoptr(GError) error = NULL;
    Writer writers[WRITERS];
    GThread *threads[WRITERS];
    BlockNode *node = block_qcow2_new(file, NULL, "test", true, 0, &error);

    g_assert_no_error(error);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (Writer){
            .node = node, .index = i, .model = disk + i * part, .part = part, .rounds = rounds};
        threads[i] = g_thread_new("writer", write_part, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        g_thread_join(threads[i]);
    }
    const size_t size = (size_t)node->size;
    int fd = dup(block_raw_fd(file));
    block_node_unref(node); /* writes everything back */
    block_node_unref(file);

    g_autofree uint8_t *buffer = g_malloc(size);
    AioContext *ctx = test_context_new();
    file = block_raw_new(fd, "test", true, false, &error);
    g_assert_no_error(error);
    node = block_qcow2_new(file, NULL, "test", false, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(read_at(ctx, node, buffer, size, 0), ==, 0);
    g_assert_cmpmem(buffer, size, disk, size);
    block_node_unref(node);
    block_node_unref(file);
    aio_context_free(ctx);
}

/* The parts are no whole number of clusters: neighbours share one. */
static void test_writers(void)
{
    uint8_t image[LENGTH], disk[CLUSTERS * CLUSTER];

    make_image(image, disk);
    write_all(raw_of(image, LENGTH, false), disk, 9 * 1024 + 512, 150);
}

/* Smallest clusters and far more tables than there is room for: they come and go all the time. */
static void test_cache(void)
{
    enum { SMALL = 512, TABLES = 64, SIZE = TABLES * 64 * SMALL };
    uint8_t image[4 * SMALL] = {0};
    g_autofree uint8_t *disk = g_malloc0(SIZE);

    put32(image, 0, 0x514649fb);
    put32(image, 4, 3);
    put32(image, 20, 9);
    put64(image, 24, SIZE);
    put32(image, 36, TABLES);
    put64(image, 40, SMALL);
    put64(image, 48, 2 * SMALL);
    put32(image, 56, 1);
    put32(image, 96, 4);
    put32(image, 100, 104);
    put64(image, 2 * SMALL, 3 * SMALL);
    for (size_t i = 0; i < 4; i++) {
        image[3 * SMALL + 2 * i + 1] = 1;
    }
    write_all(raw_of(image, sizeof(image), false), disk, SIZE / WRITERS - 100, 300);
}

/*
 * More blocks of refcounts change than there is room for, since what is not needed any more lies
 * far apart in a large file: memory keeps its limit, and what comes then does not commit each
 * time. Of clusters of 64 KiB with refcounts of 64 bits one block has 8192.
 */
static void test_blocks(void)
{
    enum { LARGE = 65536, PER_BLOCK = LARGE / 8, BLOCKS = 70, L2_PLACE = 2 * LARGE };
    enum { TABLE_PLACE = 3 * LARGE, BLOCK_PLACE = 4 * LARGE, BYTES = (4 + BLOCKS) * LARGE };
    g_autofree uint8_t *image = g_malloc0(BYTES), *buffer = g_malloc0(LARGE);
    const int64_t second = (int64_t)PER_BLOCK * LARGE; /* of the disk: behind the first table */
    g_autoptr(GError) error = NULL;
    AioContext *ctx = test_context_new();
    BlockRequest flush;

    put32(image, 0, 0x514649fb);
    put32(image, 4, 3);
    put32(image, 20, 16);
    put64(image, 24, 4 * (uint64_t)second);
    put32(image, 36, 4);
    put64(image, 40, LARGE);
    put64(image, 48, TABLE_PLACE);
    put32(image, 56, 1);
    put32(image, 96, 6);
    put32(image, 100, 104);
    put64(image, LARGE, L2_PLACE | QCOW2_COPIED);
    for (size_t i = 0; i < BLOCKS; i++) {
        const uint64_t cluster = i * PER_BLOCK + 1000;

        put64(image, L2_PLACE + 8 * i, cluster * LARGE); /* not marked as ours alone */
        put64(image, TABLE_PLACE + 8 * i, BLOCK_PLACE + i * LARGE);
        put64(image, BLOCK_PLACE + i * LARGE + 8000, 1);
    }
    for (size_t i = 0; i < BYTES / LARGE; i++) {
        put64(image, BLOCK_PLACE + 8 * i, 1);
    }
    BlockNode *file = raw_of(image, BYTES, false);
    BlockNode *node = block_qcow2_new(file, NULL, "test", true, BLOCK_QCOW2_CACHE_BYTES, &error);
    g_assert_no_error(error);
    Qcow2Writer *writer = aio_container_of(node, BlockQcow2, node)->writer;

    for (unsigned i = 0; i < BLOCKS; i++) {
        change_at(ctx, node, 0, buffer, LARGE, (int64_t)i * LARGE);
    }
    block_request_init(&flush, BLOCK_FLUSH, NULL, 0, 0);
    g_assert_cmpint(run(ctx, node, &flush), ==, 0);
    const guint loaded = writer->loaded->len;
    change_at(ctx, node, 0, buffer, LARGE, second);
    change_at(ctx, node, 0, buffer, LARGE, 2 * second);
    change_at(ctx, node, 0, buffer, LARGE, 3 * second);
    g_assert_cmpuint(writer->dirty_tables->len, >=, 2); /* no commit between the last two */
    g_assert_cmpuint(loaded, <=, block_qcow2_blocks_limit(writer->qcow2));

    /* All of them have lost their refcount. */
    int fd = dup(block_raw_fd(file));
    block_node_unref(node);
    block_node_unref(file);
    for (size_t i = 0; i < BLOCKS; i++) {
        uint64_t refcount;

        g_assert_cmpint(pread(fd, &refcount, 8, (off_t)(BLOCK_PLACE + i * LARGE + 8000)), ==, 8);
        g_assert_cmpuint(refcount, ==, 0);
    }
    close(fd);
    aio_context_free(ctx);
}

/*
 * Images with wrong bytes, mostly in the tables: each is refused, or can be read through with
 * or without errors. What counts is that nothing else happens.
 */
static void test_fuzz(void)
{
    AioContext *ctx = test_context_new();
    uint8_t good[LENGTH], image[LENGTH], disk[CLUSTERS * CLUSTER];
    g_autofree uint8_t *buffer = g_malloc(1 << 20);
    GRand *random = g_rand_new_with_seed(11);
    unsigned opened = 0, writable = 0;

    /* A broken image may say so in the log. */
    const GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL);

    make_image(good, disk);
    for (unsigned round = 0; round < 600; round++) {
        g_autoptr(GError) error = NULL;
        const unsigned changes = (unsigned)g_rand_int_range(random, 1, 6);

        memcpy(image, good, LENGTH);
        for (unsigned i = 0; i < changes; i++) {
            static const size_t areas[][2] = {{4, 140},     {L1_AT, 16},    {L2_AT, 72},
                                              {PACKED, 60}, {TABLE_AT, 16}, {BLOCK_AT, 20}};
            const size_t *area = areas[g_rand_int_range(random, 0, G_N_ELEMENTS(areas))];
            size_t at = area[0] + (size_t)g_rand_int_range(random, 0, (gint32)area[1]);

            image[at] = g_rand_boolean(random)
                            ? (uint8_t)g_rand_int(random)
                            : image[at] ^ (uint8_t)(1u << g_rand_int_range(random, 0, 8));
        }
        const bool change = round % 2 == 0;
        const bool cut = g_rand_int_range(random, 0, 4) == 0;
        BlockNode *file =
            raw_of(image, cut ? (size_t)g_rand_int_range(random, 1, LENGTH + 1) : LENGTH, !change);
        BlockNode *node = block_qcow2_new(file, NULL, "test", change, 0, &error);
        if (node != NULL) {
            const int64_t size = block_node_size(node);

            opened++;
            writable += change;
            for (unsigned i = 0; change && size > 0 && i < 6; i++) {
                int64_t at = g_rand_int_range(random, 0, (gint32)MIN(size, 1 << 30));

                change_at(ctx, node, i, buffer, (size_t)MIN(size - at, 5000), at);
            }
            for (int64_t at = 0; at < MIN(size, 1 << 20); at += 1 << 16) {
                BlockRequest request;
                size_t length = (size_t)MIN(size - at, 1 << 16);
                int result = read_at(ctx, node, buffer, length, at);

                g_assert_cmpint(result, <=, 0);
                block_request_init(&request, BLOCK_STATUS, NULL, (uint64_t)(size - at), at);
                if (run(ctx, node, &request) == 0) {
                    g_assert_cmpuint(request.run, >, 0);
                }
            }
            if (size > 0) {
                g_assert_cmpint(read_at(ctx, node, buffer, 1, size - 1), <=, 0);
            }
            block_node_unref(node);
        }
        block_node_unref(file);
    }
    g_test_message("%u of 600 were opened, %u for writing", opened, writable);
    g_assert_cmpuint(opened, >, 100);
    g_assert_cmpuint(writable, >, 100);
    g_log_set_always_fatal(fatal);
    g_rand_free(random);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/qcow2/read", test_read);
    g_test_add_func("/qcow2/backing", test_backing);
    g_test_add_func("/qcow2/header", test_header);
    g_test_add_func("/qcow2/extensions", test_extensions);
    g_test_add_func("/qcow2/writers", test_writers);
    g_test_add_func("/qcow2/cache", test_cache);
    g_test_add_func("/qcow2/blocks", test_blocks);
    g_test_add_func("/qcow2/fuzz", test_fuzz);
    return g_test_run();
}
