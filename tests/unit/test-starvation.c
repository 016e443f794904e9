/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What SCHED_IDLE costs a thread (fs/transport/starvation.c), on an invented clock. */
#include "fs/transport/starvation.h"

#include <glib.h>

#define US INT64_C(1000)
#define MS (1000 * US)

typedef struct Clock {
    int64_t now;
    uint64_t delay;
} Clock;

/* Serve one request after @gap that was delayed by @delay. False: a pause has begun. */
static bool serve(FsStarvation *account, Clock *clock, int64_t gap, int64_t delay)
{
    clock->now += gap;
    clock->delay += (uint64_t)delay;
    return !fs_starvation_count(account, clock->now, 1) ||
           fs_starvation_look(account, clock->now, clock->delay);
}

static void test_client_interrupts(void)
{
    FsStarvation account = {0};
    Clock clock = {.now = 5 * MS, .delay = 77};

    g_assert_true(fs_starvation_is_over(&account, clock.now));
    fs_starvation_begin(&account, clock.now, clock.delay);
    for (unsigned i = 0; i < 100000; i++) {
        g_assert_true(serve(&account, &clock, 12 * US, 5 * US));
    }
    /* and one that thinks in between: now and then it is long */
    for (unsigned i = 0; i < 100000; i++) {
        g_assert_true(serve(&account, &clock, i % 50 == 0 ? 3 * MS : 60 * US,
                            i % 50 == 0 ? 3 * MS : 20 * US));
    }
}

/* Serve until a pause begins; how long it is. */
static int64_t starve(FsStarvation *account, Clock *clock)
{
    fs_starvation_begin(account, clock->now, clock->delay);
    const uint64_t before = clock->delay;
    while (serve(account, clock, 3 * MS, 3 * MS)) {
        g_assert_cmpint((int64_t)(clock->delay - before), <, 2 * FS_STARVATION_LOST_NS);
    }
    g_assert_false(fs_starvation_is_over(account, clock->now));
    return account->until_ns - clock->now;
}

static void test_hog(void)
{
    FsStarvation account = {0};
    Clock clock = {0};

    const int64_t first = starve(&account, &clock);
    g_assert_cmpint(first, >=, FS_STARVATION_SHARE * FS_STARVATION_LOST_NS);
    clock.now += first;
    g_assert_true(fs_starvation_is_over(&account, clock.now));
    g_assert_cmpint(starve(&account, &clock), ==, 2 * first);
    for (unsigned i = 0; i < 20; i++) {
        clock.now = account.until_ns;
        g_assert_cmpint(starve(&account, &clock), <=, FS_STARVATION_PAUSE_MAX_NS);
    }
    /* after a good time a pause is short again */
    clock.now = account.until_ns;
    fs_starvation_begin(&account, clock.now, clock.delay);
    for (int64_t end = clock.now + 2 * FS_STARVATION_SOON_NS; clock.now < end;) {
        g_assert_true(serve(&account, &clock, 10 * US, 2 * US));
    }
    while (serve(&account, &clock, 3 * MS, 3 * MS)) {
    }
    g_assert_cmpint(account.until_ns - clock.now, <=, 2 * first);
}

/* One long wait is enough. */
static void test_once(void)
{
    FsStarvation account = {0};
    Clock clock = {0};

    fs_starvation_begin(&account, clock.now, clock.delay);
    g_assert_false(serve(&account, &clock, 100 * MS, 100 * MS));
    g_assert_cmpint(account.until_ns, ==,
                    100 * MS + FS_STARVATION_SHARE * (100 * MS - FS_STARVATION_FREE_NS));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/starvation/client-interrupts", test_client_interrupts);
    g_test_add_func("/starvation/hog", test_hog);
    g_test_add_func("/starvation/once", test_once);
    return g_test_run();
}
