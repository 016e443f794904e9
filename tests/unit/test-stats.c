/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters and histograms (aio/stats.c). */
#include "aio/stats.h"

#include <glib.h>

static void test_counters_read_and_add(void)
{
    AioCounters counters = {0};
    aio_counter_add(&counters.turns, 3);
    aio_counter_add(&counters.cqes, 7);

    AioStats stats, sum = {.turns = 1};
    aio_counters_read(&counters, &stats);
    g_assert_cmpuint(stats.turns, ==, 3);
    g_assert_cmpuint(stats.cqes, ==, 7);
    g_assert_cmpuint(stats.sqes, ==, 0);

    aio_stats_add(&sum, &stats);
    g_assert_cmpuint(sum.turns, ==, 4);
    g_assert_cmpuint(sum.cqes, ==, 7);
}

/* A percentile is never below the exact one and at most 1/16 above it. */
static void test_histogram_error_bound(void)
{
    AioHistogram *histogram = g_new0(AioHistogram, 1);
    for (uint64_t value = 1; value <= 1000; value++) {
        aio_histogram_record(histogram, value * value);
    }
    for (unsigned permille = 1; permille <= 1000; permille++) {
        uint64_t exact = (uint64_t)permille * permille;
        uint64_t told = aio_histogram_permille(histogram, permille);
        g_assert_cmpuint(told, >=, exact);
        g_assert_cmpuint(told, <=, exact + exact / 16);
    }
    g_free(histogram);
}

static void test_histogram_extremes(void)
{
    AioHistogram *histogram = g_new0(AioHistogram, 1);
    g_assert_cmpuint(aio_histogram_permille(histogram, 500), ==, 0);
    aio_histogram_record(histogram, 0);
    g_assert_cmpuint(aio_histogram_permille(histogram, 1000), ==, 0);
    aio_histogram_record(histogram, UINT64_MAX);
    g_assert_cmpuint(aio_histogram_permille(histogram, 1000), ==, UINT64_MAX);

    AioHistogram *sum = g_new0(AioHistogram, 1);
    aio_histogram_merge(sum, histogram);
    aio_histogram_merge(sum, histogram);
    g_assert_cmpuint(sum->count, ==, 4);
    g_assert_cmpuint(aio_histogram_permille(sum, 500), ==, 0);
    g_assert_cmpuint(sum->max, ==, UINT64_MAX);
    g_free(sum);
    g_free(histogram);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stats/counters-read-and-add", test_counters_read_and_add);
    g_test_add_func("/stats/histogram-error-bound", test_histogram_error_bound);
    g_test_add_func("/stats/histogram-extremes", test_histogram_extremes);
    return g_test_run();
}
