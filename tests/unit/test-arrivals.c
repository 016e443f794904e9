/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How requests arrive (fs/transport/arrivals.c). */
#include "fs/transport/arrivals.h"

#include <glib.h>
#include <linux/fuse.h>

static void ask_and_answer(FsArrivals *arrivals, uint32_t opcode, uint32_t client)
{
    if (fs_arrivals_add(arrivals, opcode, client, false)) {
        fs_arrivals_remove(arrivals);
    }
}

static void test_one_after_the_other(void)
{
    FsArrivals arrivals = {0};

    fs_arrivals_begin(&arrivals);
    ask_and_answer(&arrivals, FUSE_LOOKUP, 7);
    g_assert_false(arrivals.alone); /* another than before: nobody */
    fs_arrivals_begin(&arrivals);
    ask_and_answer(&arrivals, FUSE_OPEN, 7);
    ask_and_answer(&arrivals, FUSE_READ, 7);
    ask_and_answer(&arrivals, FUSE_RELEASE, 0);
    ask_and_answer(&arrivals, FUSE_FORGET, 0);
    g_assert_true(arrivals.alone);
    g_assert_cmpuint(arrivals.count, ==, 2);
    g_assert_cmpuint(arrivals.in_flight, ==, 0);
    ask_and_answer(&arrivals, FUSE_GETATTR, 8);
    g_assert_false(arrivals.alone);
}

static void test_together(void)
{
    FsArrivals arrivals = {.client = 7};

    fs_arrivals_begin(&arrivals);
    g_assert_true(fs_arrivals_add(&arrivals, FUSE_READ, 7, false));
    g_assert_true(arrivals.alone);
    g_assert_false(fs_arrivals_add(&arrivals, FUSE_RELEASEDIR, 7, false));
    g_assert_true(arrivals.alone);
    g_assert_true(fs_arrivals_add(&arrivals, FUSE_READ, 7, false));
    g_assert_false(arrivals.alone);
    fs_arrivals_remove(&arrivals);
    /* the other is still in flight when the next burst comes */
    fs_arrivals_begin(&arrivals);
    ask_and_answer(&arrivals, FUSE_READ, 7);
    g_assert_false(arrivals.alone);
    fs_arrivals_remove(&arrivals);
    fs_arrivals_begin(&arrivals);
    ask_and_answer(&arrivals, FUSE_READ, 7);
    g_assert_true(arrivals.alone);
}

static void test_long(void)
{
    FsArrivals arrivals = {.client = 7};

    fs_arrivals_begin(&arrivals);
    g_assert_true(fs_arrivals_add(&arrivals, FUSE_READ, 7, true));
    g_assert_false(arrivals.alone);
    g_assert_cmpuint(arrivals.count, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/arrivals/one-after-the-other", test_one_after_the_other);
    g_test_add_func("/arrivals/together", test_together);
    g_test_add_func("/arrivals/long", test_long);
    return g_test_run();
}
