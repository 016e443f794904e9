/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* O_DIRECT with aligned and unaligned requests (aio/io-bounce.c), on both engines. */
#include "aio/io-fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/buffer.h"
#include "aio/pool.h"
#include "io-util.h"

#define BLOCK      512u
#define MODEL_SIZE (16 * BLOCK)

/* A file, its descriptor for direct I/O, and what it should hold. */
typedef struct Model {
    AioContext *ctx;
    int fd;
    size_t size;
    char data[MODEL_SIZE];
} Model;

/* Whether the temporary directory takes O_DIRECT with BLOCK-sized blocks. */
static bool direct_possible(void)
{
    void *buf = aio_buffer_alloc_aligned(BLOCK, BLOCK);
    int fd = test_temp_file(BLOCK, O_DIRECT);
    bool possible = fd >= 0 && pread(fd, buf, BLOCK, 0) == BLOCK;
    if (fd >= 0) {
        close(fd);
    }
    free(buf);
    return possible;
}

static bool model_open(Model *model, size_t size)
{
    if (!direct_possible()) {
        g_test_skip("the temporary directory does not take O_DIRECT with 512-byte blocks");
        return false;
    }
    memset(model, 0, sizeof(*model));
    model->ctx = test_context_new();
    model->fd = test_temp_file(size, O_DIRECT);
    model->size = size;
    return true;
}

static void model_close(Model *model)
{
    close(model->fd);
    aio_context_free(model->ctx);
}

/* The kernel's view through the page cache: contents and size. */
static void model_check(Model *model)
{
    char path[64], found[MODEL_SIZE];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", model->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpuint((size_t)st.st_size, ==, model->size);
    g_assert_cmpint(pread(fd, found, sizeof(found), 0), ==, (ssize_t)model->size);
    g_assert_true(memcmp(found, model->data, model->size) == 0);
    close(fd);
}

/* Start over with @size bytes of known content. */
static void model_reset(Model *model, size_t size, unsigned seed)
{
    char *buf = aio_buffer_alloc_aligned(BLOCK, MODEL_SIZE);
    test_fill(buf, MODEL_SIZE, seed);
    g_assert_cmpint(pwrite(model->fd, buf, MODEL_SIZE, 0), ==, MODEL_SIZE);
    g_assert_cmpint(ftruncate(model->fd, (off_t)size), ==, 0);
    memset(model->data, 0, MODEL_SIZE);
    memcpy(model->data, buf, size);
    model->size = size;
    free(buf);
}

static void model_apply(Model *model, const char *buf, size_t offset, size_t length)
{
    memcpy(model->data + offset, buf, length);
    model->size = MAX(model->size, offset + length);
}

static unsigned as_vector(struct iovec iov[3], char *buf, size_t length, bool vector)
{
    if (!vector || length < 3) {
        iov[0] = (struct iovec){buf, length};
        return 1;
    }
    iov[0] = (struct iovec){buf, length / 3};
    iov[1] = (struct iovec){buf + length / 3, length / 2};
    iov[2] = (struct iovec){buf + length / 3 + length / 2, length - length / 3 - length / 2};
    return 3;
}

static const size_t memory_offsets[] = {0, 1, 257};
static const size_t offsets[] = {0, 1, 100, 511, 512, 1024, 1025, 2047};
static const size_t lengths[] = {1, 3, 411, 412, 511, 512, 513, 1024, 1536, 2001};

static void read_one(Model *model, char *memory, size_t offset, size_t length, bool vector,
                     bool zero_fill)
{
    struct iovec iov[3];
    size_t expected = offset < model->size ? MIN(length, model->size - offset) : 0;
    AioIo io;

    memset(memory, 'x', length + 1);
    aio_io_init_readv(&io, model->fd, iov, as_vector(iov, memory, length, vector), (int64_t)offset);
    io.alignment = BLOCK;
    io.flags = zero_fill ? AIO_IO_ZERO_FILL : 0;
    g_assert_cmpint(run_io(model->ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, zero_fill ? length : expected);
    g_assert_true(memcmp(memory, model->data + offset, expected) == 0);
    /* Without zero fill the kernel may leave what it likes in the file's last block. */
    for (size_t at = expected; zero_fill && at < length; at++) {
        g_assert_cmpint(memory[at], ==, 0);
    }
    g_assert_cmpint(memory[length], ==, 'x');
}

static void test_read_misalignments(void)
{
    Model model;
    if (!model_open(&model, 0)) {
        return;
    }
    char *memory = aio_buffer_alloc_aligned(BLOCK, MODEL_SIZE);
    const size_t sizes[] = {MODEL_SIZE, 2 * BLOCK, 1300, 5, 0};

    for (unsigned s = 0; s < G_N_ELEMENTS(sizes); s++) {
        model_reset(&model, sizes[s], s);
        for (unsigned i = 0; i < G_N_ELEMENTS(offsets) * G_N_ELEMENTS(lengths); i++) {
            size_t offset = offsets[i % G_N_ELEMENTS(offsets)];
            size_t length = lengths[i / G_N_ELEMENTS(offsets)];
            for (unsigned m = 0; m < G_N_ELEMENTS(memory_offsets); m++) {
                char *buf = memory + memory_offsets[m];
                read_one(&model, buf, offset, length, m % 2, i % 2);
                read_one(&model, buf, offset, length, !(m % 2), !(i % 2));
            }
        }
    }
    free(memory);
    model_close(&model);
}

static void write_one(Model *model, char *memory, size_t offset, size_t length, bool vector,
                      unsigned flags)
{
    struct iovec iov[3];
    AioIo io;

    test_fill(memory, length, (unsigned)(offset * 7 + length));
    aio_io_init_writev(&io, model->fd, iov, as_vector(iov, memory, length, vector),
                       (int64_t)offset);
    io.alignment = BLOCK;
    io.flags = flags;
    g_assert_cmpint(run_io(model->ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, length);
    model_apply(model, memory, offset, length);
}

static void test_write_misalignments(void)
{
    Model model;
    if (!model_open(&model, 0)) {
        return;
    }
    char *memory = aio_buffer_alloc_aligned(BLOCK, MODEL_SIZE);
    /* In the middle of a file, across its end, and beyond it. */
    const size_t sizes[] = {MODEL_SIZE, 1300, 0};

    for (unsigned s = 0; s < G_N_ELEMENTS(sizes); s++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(offsets) * G_N_ELEMENTS(lengths); i++) {
            size_t offset = offsets[i % G_N_ELEMENTS(offsets)];
            size_t length = lengths[i / G_N_ELEMENTS(offsets)];
            unsigned m = i % G_N_ELEMENTS(memory_offsets);
            model_reset(&model, sizes[s], i);
            write_one(&model, memory + memory_offsets[m], offset, length, i & 4,
                      i % 5 == 0 ? AIO_IO_FUA : 0);
            model_check(&model);
        }
    }
    free(memory);
    model_close(&model);
}

/* What is aligned is not copied. */
static void test_aligned_not_copied(void)
{
    Model model;
    if (!model_open(&model, 4 * BLOCK)) {
        return;
    }
    char *memory = aio_buffer_alloc_aligned(BLOCK, 2 * BLOCK);
    AioIo io;

    write_one(&model, memory, BLOCK, 2 * BLOCK, false, 0);
    read_one(&model, memory, 0, BLOCK, false, false);
    aio_io_init_write(&io, model.fd, memory, BLOCK, 0);
    io.alignment = BLOCK;
    io.flags = AIO_IO_APPEND;
    g_assert_cmpint(run_io(model.ctx, &io), ==, 0);
    model_apply(&model, memory, 4 * BLOCK, BLOCK);
    g_assert_cmpuint(stats_of(model.ctx).io_bounced, ==, 0);
    model_check(&model);

    /* An append from anywhere in memory is copied; its length has to be aligned. */
    memmove(memory + 1, memory, BLOCK);
    aio_io_init_write(&io, model.fd, memory + 1, BLOCK, 0);
    io.alignment = BLOCK;
    io.flags = AIO_IO_APPEND;
    g_assert_cmpint(run_io(model.ctx, &io), ==, 0);
    model_apply(&model, memory + 1, 5 * BLOCK, BLOCK);
    g_assert_cmpuint(stats_of(model.ctx).io_bounced, ==, 1);
    model_check(&model);
    aio_io_init_write(&io, model.fd, memory, BLOCK - 1, 0);
    io.alignment = BLOCK;
    io.flags = AIO_IO_APPEND;
    g_assert_cmpint(run_io(model.ctx, &io), ==, -EINVAL);
    model_check(&model);

    free(memory);
    model_close(&model);
}

/*
 * Records that share blocks with their neighbours, all written at the same
 * time: none is lost, whether the file is there or grows under them.
 */
static void test_shared_blocks(void)
{
    enum { RECORD = 100, COUNT = MODEL_SIZE / RECORD };
    Model model;
    if (!model_open(&model, 0)) {
        return;
    }
    char records[COUNT][RECORD];
    AioIo ios[COUNT];

    for (unsigned round = 0; round < 4; round++) {
        model_reset(&model, round % 2 ? 777 : MODEL_SIZE, round);
        for (unsigned i = 0; i < COUNT; i++) {
            unsigned place = (i * 37) % COUNT; /* 37 and COUNT have no common factor */
            size_t offset = place * RECORD;
            test_fill(records[i], RECORD, i + 1000 * round);
            aio_io_init_write(&ios[i], model.fd, records[i], RECORD, (int64_t)offset);
            ios[i].alignment = BLOCK;
            model_apply(&model, records[i], offset, RECORD);
            aio_io_submit(model.ctx, &ios[i], note_done);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            test_poll_until(model.ctx, is_done(&ios[i]));
            g_assert_cmpint(ios[i].result, ==, 0);
        }
        model_check(&model);
    }
    model_close(&model);
}

/* Aligned writes of whole blocks do not get lost next to unaligned ones that overlap. */
static void test_order_of_overlaps(void)
{
    enum { COUNT = 60 };
    Model model;
    if (!model_open(&model, MODEL_SIZE)) {
        return;
    }
    char *memory[COUNT];
    AioIo ios[COUNT];
    GRand *random = g_rand_new_with_seed(5);

    for (unsigned i = 0; i < COUNT; i++) {
        memory[i] = aio_buffer_alloc_aligned(BLOCK, 4 * BLOCK);
    }
    for (unsigned round = 0; round < 10; round++) {
        /* Disjoint bytes: a block belongs to one aligned write or to unaligned records. */
        unsigned n = 0;
        model_reset(&model, MODEL_SIZE, round);
        for (size_t at = 0; at < MODEL_SIZE && n < COUNT;) {
            bool whole = at % BLOCK == 0 && g_rand_boolean(random);
            size_t length = whole ? BLOCK : (size_t)g_rand_int_range(random, 1, BLOCK);
            length = MIN(length, MODEL_SIZE - at);
            test_fill(memory[n], length, n + round);
            aio_io_init_write(&ios[n], model.fd, memory[n], length, (int64_t)at);
            ios[n].alignment = BLOCK;
            model_apply(&model, memory[n], at, length);
            at += length;
            n++;
        }
        for (unsigned i = 0; i < n; i++) {
            aio_io_submit(model.ctx, &ios[i], note_done);
        }
        for (unsigned i = 0; i < n; i++) {
            test_poll_until(model.ctx, is_done(&ios[i]));
            g_assert_cmpint(ios[i].result, ==, 0);
        }
        model_check(&model);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        free(memory[i]);
    }
    g_rand_free(random);
    model_close(&model);
}

/* Faults below the copies: short by whole blocks, repeated, delayed, failed. */
static void test_faults(void)
{
    Model model;
    if (!model_open(&model, 0)) {
        return;
    }
    char *memory = aio_buffer_alloc_aligned(BLOCK, MODEL_SIZE + BLOCK);
    GRand *random = g_rand_new_with_seed(1);
    unsigned errors = 0;

    for (unsigned seed = 0; seed < 400; seed++) {
        AioIoFaults faults = {.seed = seed,
                              .short_permille = 400,
                              .eagain_permille = 100,
                              .eio_permille = seed % 4 ? 0 : 100,
                              .delay_permille = 50,
                              .delay_ns = 10 * 1000};
        size_t length = (size_t)g_rand_int_range(random, 1, MODEL_SIZE / 2);
        size_t offset = (size_t)g_rand_int_range(random, 0, (int)(MODEL_SIZE - length));
        char *buf = memory + (g_rand_boolean(random) ? 0 : g_rand_int_range(random, 1, BLOCK));
        if (g_rand_boolean(random)) {
            length = (length + BLOCK - 1) / BLOCK * BLOCK;
            offset = offset / BLOCK * BLOCK;
        }
        struct iovec iov[3];
        unsigned n = as_vector(iov, buf, length, g_rand_boolean(random));
        bool write = g_rand_boolean(random);
        AioIo io;

        model_reset(&model, (size_t)g_rand_int_range(random, 0, MODEL_SIZE + 1), seed);
        aio_io_set_faults(model.ctx, &faults);
        if (!write) {
            size_t expected = offset < model.size ? MIN(length, model.size - offset) : 0;
            aio_io_init_readv(&io, model.fd, iov, n, (int64_t)offset);
            io.alignment = BLOCK;
            if (run_io(model.ctx, &io) == 0) {
                g_assert_cmpuint(io.transferred, ==, expected);
                g_assert_true(memcmp(buf, model.data + offset, expected) == 0);
                continue;
            }
        } else {
            test_fill(buf, length, seed);
            aio_io_init_writev(&io, model.fd, iov, n, (int64_t)offset);
            io.alignment = BLOCK;
            if (run_io(model.ctx, &io) == 0) {
                model_apply(&model, buf, offset, length);
                model_check(&model);
                continue;
            }
        }
        g_assert_cmpint(io.result, ==, -EIO);
        g_assert_cmpuint(seed % 4, ==, 0);
        errors++;
    }
    g_assert_cmpuint(errors, >, 0);
    g_rand_free(random);
    free(memory);
    model_close(&model);
}

/* Both ends at the limits of a 64-bit file offset. */
static void test_bad_ranges(void)
{
    Model model;
    if (!model_open(&model, 0)) {
        return;
    }
    char buf[10] = "";
    AioIo io;

    aio_io_init_write(&io, model.fd, buf, sizeof(buf), INT64_MAX - 20);
    io.alignment = BLOCK;
    g_assert_cmpint(run_io(model.ctx, &io), ==, -EOVERFLOW);
    aio_io_init_read(&io, model.fd, buf, sizeof(buf), INT64_MAX - 20);
    io.alignment = BLOCK;
    g_assert_cmpint(run_io(model.ctx, &io), ==, -EOVERFLOW);

    /* Nothing to write: the file does not grow up to the offset. */
    aio_io_init_write(&io, model.fd, buf, 0, 700);
    io.alignment = BLOCK;
    g_assert_cmpint(run_io(model.ctx, &io), ==, 0);
    aio_io_init_read(&io, model.fd, buf, 0, 700);
    io.alignment = BLOCK;
    g_assert_cmpint(run_io(model.ctx, &io), ==, 0);
    model_check(&model);
    model_close(&model);
}

/* A loop device over an unlinked file that detaches itself when closed, or -1. */
static int open_loop_device(size_t size)
{
    char path[32];
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
    if (control >= 0) {
        close(control);
    }
    if (number < 0) {
        return -1;
    }
    snprintf(path, sizeof(path), "/dev/loop%d", number);
    int device = open(path, O_RDWR | O_CLOEXEC);
    int file = test_temp_file(size, 0);
    if (device < 0 || file < 0) {
        return -1;
    }
    struct loop_config config = {.fd = (unsigned)file, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    int ret = ioctl(device, LOOP_CONFIGURE, &config);
    close(file);
    if (ret < 0) {
        close(device);
        return -1;
    }
    return device;
}

/* On a block device discarding is another call; reads and writes keep the contract. */
static void test_block_device(void)
{
    AioContext *ctx = test_context_new();
    int fd = open_loop_device(1024 * 1024);
    if (fd < 0) {
        g_test_skip("no loop device");
        aio_context_free(ctx);
        return;
    }
    char data[8192], back[8192], zeros[8192] = "";
    AioIo io;

    test_fill(data, sizeof(data), 1);
    aio_io_init_write(&io, fd, data, sizeof(data), 4096);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_fsync(&io, fd, true, 0, 0);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_discard(&io, fd, 4096, 4096);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    aio_io_init_read(&io, fd, back, sizeof(back), 4096);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_true(memcmp(back, zeros, 4096) == 0);
    g_assert_true(memcmp(back + 4096, data + 4096, 4096) == 0);

    aio_io_init_discard(&io, fd, 1, 4096); /* not whole sectors */
    g_assert_cmpint(run_io(ctx, &io), ==, -EINVAL);

    /* The device's end is the end of the file. */
    aio_io_init_read(&io, fd, back, sizeof(back), 1024 * 1024 - 100);
    g_assert_cmpint(run_io(ctx, &io), ==, 0);
    g_assert_cmpuint(io.transferred, ==, 100);
    aio_io_init_write(&io, fd, data, sizeof(data), 1024 * 1024 - 100);
    g_assert_cmpint(run_io(ctx, &io), ==, -ENOSPC);
    close(fd);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/io-direct/D19-read-misalignments", test_read_misalignments);
    g_test_add_func("/io-direct/D19-write-misalignments", test_write_misalignments);
    g_test_add_func("/io-direct/D19-aligned-not-copied", test_aligned_not_copied);
    g_test_add_func("/io-direct/D19-shared-blocks", test_shared_blocks);
    g_test_add_func("/io-direct/D19-order-of-overlaps", test_order_of_overlaps);
    g_test_add_func("/io-direct/D19-faults", test_faults);
    g_test_add_func("/io-direct/bad-ranges", test_bad_ranges);
    g_test_add_func("/io-direct/block-device", test_block_device);

    int ret = g_test_run();
    aio_pool_shared_fini();
    return ret;
}
