/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a worker takes and answers the requests of a wake-up (fs/transport/burst.c). */
#include "fs/transport/burst.h"

#include <glib.h>

static void repeat(FsBurst *burst, unsigned requests, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        fs_burst_end(burst, requests);
    }
}

/* One client that waits for each answer: answers are written at once, but for a probe. */
static void test_lone_client(void)
{
    FsBurst burst = {0};

    repeat(&burst, 1, FS_BURST_PROBE - 1);
    g_assert_false(burst.hold);
    repeat(&burst, 1, 1);
    g_assert_true(burst.hold);
    repeat(&burst, 1, 1);
    g_assert_false(burst.hold);
    repeat(&burst, 1, FS_BURST_PROBE - 1);
    g_assert_false(burst.hold);
}

/* A client that asks again before the burst is over proves no concurrency. */
static void test_long_bursts_are_no_proof(void)
{
    FsBurst burst = {0};
    unsigned held = 0;

    for (unsigned i = 0; i < 1000; i++) {
        held += burst.hold;
        fs_burst_end(&burst, burst.hold ? 1 : FS_BURST_MAX);
    }
    g_assert_cmpuint(held, >, 0);
    g_assert_cmpuint(held, <=, 1000 / (FS_BURST_PROBE / FS_BURST_MAX));
}

/* Many requests in flight: held from the first probe on, through a few lonely bursts. */
static void test_many_clients(void)
{
    FsBurst burst = {0};

    repeat(&burst, 8, FS_BURST_PROBE / 8);
    g_assert_true(burst.hold);
    repeat(&burst, 8, 1000);
    g_assert_true(burst.hold);
    repeat(&burst, 1, FS_BURST_PATIENCE - 1);
    g_assert_true(burst.hold);
    repeat(&burst, 2, 1);
    repeat(&burst, 1, FS_BURST_PATIENCE - 1);
    g_assert_true(burst.hold);
    repeat(&burst, 1, 1);
    g_assert_false(burst.hold);
}

/* An empty wake-up (another worker was faster) tells nothing. */
static void test_empty_bursts(void)
{
    FsBurst burst = {0};

    repeat(&burst, 0, 10 * FS_BURST_PROBE);
    g_assert_false(burst.hold);
    g_assert_cmpuint(burst.lonely, ==, 0);
}

static void test_last_read(void)
{
    FsBurst burst = {0};
    unsigned reads = 0;

    g_assert_true(fs_burst_read_again(&burst, 1, false));
    repeat(&burst, 1, FS_BURST_LONELY - 1);
    g_assert_true(fs_burst_read_again(&burst, 1, false));
    repeat(&burst, 1, 1);
    g_assert_false(fs_burst_read_again(&burst, 1, false));

    /* the client may be back already */
    g_assert_true(fs_burst_read_again(&burst, 1, true));
    /* the probe found company */
    g_assert_true(fs_burst_read_again(&burst, 2, false));
    g_assert_false(fs_burst_read_again(&burst, FS_BURST_MAX, true));

    for (unsigned i = 0; i < 10 * FS_BURST_LONELY_PROBE; i++) {
        reads += fs_burst_read_again(&burst, 1, false);
        fs_burst_end(&burst, 1);
    }
    g_assert_cmpuint(reads, ==, 10);
    fs_burst_end(&burst, 2);
    g_assert_true(fs_burst_read_again(&burst, 1, false));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/burst/lone-client", test_lone_client);
    g_test_add_func("/burst/long-bursts-are-no-proof", test_long_bursts_are_no_proof);
    g_test_add_func("/burst/many-clients", test_many_clients);
    g_test_add_func("/burst/empty-bursts", test_empty_bursts);
    g_test_add_func("/burst/last-read", test_last_read);
    return g_test_run();
}
