/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and merging counters; log-linear histograms. */
#include "aio/stats.h"

void aio_counters_read(const AioCounters *counters, AioStats *stats)
{
#define AIO_STATS_READ(name, text)                                                                 \
    stats->name = atomic_load_explicit(&counters->name, memory_order_relaxed);
    AIO_STATS_COUNTERS(AIO_STATS_READ)
#undef AIO_STATS_READ
}

void aio_stats_add(AioStats *into, const AioStats *from)
{
#define AIO_STATS_SUM(name, text) into->name += from->name;
    AIO_STATS_COUNTERS(AIO_STATS_SUM)
#undef AIO_STATS_SUM
}

/*
 * Values below AIO_HISTOGRAM_STEPS have a bucket each. Above, the position of
 * the highest bit selects a row and the four bits below it the step.
 */
static unsigned histogram_bucket(uint64_t value)
{
    if (value < AIO_HISTOGRAM_STEPS) {
        return (unsigned)value;
    }
    unsigned highest = 63 - (unsigned)__builtin_clzll(value);
    unsigned step = (unsigned)(value >> (highest - 4)) & (AIO_HISTOGRAM_STEPS - 1);
    return (highest - 3) * AIO_HISTOGRAM_STEPS + step;
}

/* The largest value that falls into a bucket. */
static uint64_t histogram_bucket_limit(unsigned bucket)
{
    if (bucket < AIO_HISTOGRAM_STEPS) {
        return bucket;
    }
    unsigned highest = bucket / AIO_HISTOGRAM_STEPS + 3;
    uint64_t step = bucket % AIO_HISTOGRAM_STEPS;
    uint64_t width = UINT64_C(1) << (highest - 4);
    return (UINT64_C(1) << highest) + step * width + (width - 1);
}

void aio_histogram_record(AioHistogram *histogram, uint64_t value)
{
    aio_counter_add(&histogram->count, 1);
    aio_counter_add(&histogram->sum, value);
    if (value > atomic_load_explicit(&histogram->max, memory_order_relaxed)) {
        atomic_store_explicit(&histogram->max, value, memory_order_relaxed);
    }
    aio_counter_add(&histogram->buckets[histogram_bucket(value)], 1);
}

uint64_t aio_histogram_permille(const AioHistogram *histogram, unsigned permille)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < AIO_HISTOGRAM_BUCKETS; i++) {
        total += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    }
    if (total == 0) {
        return 0;
    }

    uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
    uint64_t wanted = total / 1000 * permille + (total % 1000 * permille + 999) / 1000;
    uint64_t seen = 0;
    for (unsigned i = 0; i < AIO_HISTOGRAM_BUCKETS; i++) {
        seen += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        if (seen >= wanted) {
            uint64_t limit = histogram_bucket_limit(i);
            return limit < max ? limit : max;
        }
    }
    return max;
}

void aio_histogram_merge(AioHistogram *into, const AioHistogram *from)
{
    aio_counter_add(&into->count, atomic_load_explicit(&from->count, memory_order_relaxed));
    aio_counter_add(&into->sum, atomic_load_explicit(&from->sum, memory_order_relaxed));
    uint64_t max = atomic_load_explicit(&from->max, memory_order_relaxed);
    if (max > atomic_load_explicit(&into->max, memory_order_relaxed)) {
        atomic_store_explicit(&into->max, max, memory_order_relaxed);
    }
    for (unsigned i = 0; i < AIO_HISTOGRAM_BUCKETS; i++) {
        aio_counter_add(&into->buckets[i],
                        atomic_load_explicit(&from->buckets[i], memory_order_relaxed));
    }
}
