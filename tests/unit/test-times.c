/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Histograms of request times. */
#include "fs/session/times.h"

#include <errno.h>

#include <glib.h>

#include "fs/session/kernel-abi.h"

static void test_names(void)
{
    g_assert_cmpstr(fs_times_opcode_name(FUSE_READ), ==, "read");
    g_assert_cmpstr(fs_times_opcode_name(FS_FUSE_STATX), ==, "statx");
    g_assert_cmpstr(fs_times_opcode_name(0), ==, "other");
    g_assert_cmpstr(fs_times_opcode_name(7), ==, "other"); /* never was one */
    g_assert_cmpstr(fs_times_opcode_name(FS_TIMES_OPCODES), ==, "other");
    g_assert_cmpstr(fs_times_opcode_name(UINT32_MAX), ==, "other");
}

static uint64_t count(const FsTimes *times, uint32_t opcode)
{
    return atomic_load(&times->service[opcode].count);
}

static void test_record(void)
{
    FsTimes *times = fs_times_new();

    fs_times_record(times, FUSE_READ, 0, 1000);
    fs_times_record(times, FUSE_READ, EIO, 3000);
    fs_times_record(times, FUSE_WRITE, 0, 5);
    fs_times_record(times, UINT32_MAX, ENOSYS, 7);

    g_assert_cmpuint(count(times, FUSE_READ), ==, 2);
    g_assert_cmpuint(atomic_load(&times->service[FUSE_READ].sum), ==, 4000);
    g_assert_cmpuint(atomic_load(&times->service[FUSE_READ].max), ==, 3000);
    g_assert_cmpuint(atomic_load(&times->errors[FUSE_READ]), ==, 1);
    g_assert_cmpuint(count(times, FUSE_WRITE), ==, 1);
    g_assert_cmpuint(atomic_load(&times->errors[FUSE_WRITE]), ==, 0);
    g_assert_cmpuint(count(times, 0), ==, 1);
    g_assert_cmpuint(atomic_load(&times->errors[0]), ==, 1);
    fs_times_free(times);
}

static void test_merge(void)
{
    FsTimes *sum = fs_times_new(), *times = fs_times_new();

    for (unsigned i = 1; i <= 100; i++) {
        fs_times_record(times, FUSE_READ, i % 10 == 0 ? EIO : 0, i);
    }
    aio_histogram_record(&times->queue, 11);
    aio_histogram_record(&times->backing, 12);
    aio_histogram_record(&times->reply, 13);
    fs_times_merge(sum, times);
    fs_times_merge(sum, times);

    g_assert_cmpuint(count(sum, FUSE_READ), ==, 200);
    g_assert_cmpuint(atomic_load(&sum->errors[FUSE_READ]), ==, 20);
    g_assert_cmpuint(aio_histogram_permille(&sum->service[FUSE_READ], 1000), ==, 100);
    g_assert_cmpuint(count(sum, FUSE_WRITE), ==, 0);
    g_assert_cmpuint(atomic_load(&sum->queue.sum), ==, 22);
    g_assert_cmpuint(atomic_load(&sum->backing.sum), ==, 24);
    g_assert_cmpuint(atomic_load(&sum->reply.sum), ==, 26);
    fs_times_free(times);
    fs_times_free(sum);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/times/names", test_names);
    g_test_add_func("/times/record", test_record);
    g_test_add_func("/times/merge", test_merge);
    return g_test_run();
}
