/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Counters of a context and log-linear histograms. */
#ifndef SLUICE_AIO_STATS_H
#define SLUICE_AIO_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/** Every counter starts at 0 and only grows; times in nanoseconds. */
#define AIO_STATS_COUNTERS(X)                                                                      \
    X(turns, "turns of the loop")                                                                  \
    X(blocking_waits, "waits that could sleep")                                                    \
    X(wakes_sent, "wake-ups that needed a system call")                                            \
    X(wakes_saved, "wake-ups of a loop that was awake")                                            \
    X(wakes_received, "turns that accepted a wake-up")                                             \
    X(poll_hits, "spins that found work")                                                          \
    X(poll_misses, "spins that ran out of time")                                                   \
    X(poll_ns, "nanoseconds spent spinning")                                                       \
    X(poll_preempted, "spins in which another took the CPU")                                       \
    X(poll_pauses, "times spinning did not pay and was given up for a while")                      \
    X(poll_grown, "times the poll time grew")                                                      \
    X(poll_shrunk, "times the poll time shrank")                                                   \
    X(submits, "io_uring_enter calls that submitted")                                              \
    X(sqes, "SQEs submitted")                                                                      \
    X(enters, "io_uring_enter calls")                                                              \
    X(reaps, "walks of the completion queue that found something")                                 \
    X(cqes, "completions taken")                                                                   \
    X(cq_overflows, "times the completion queue had overflowed")                                   \
    X(backlogged, "SQEs that waited in the software backlog")                                      \
    X(io_requests, "requests given to the I/O engine")                                             \
    X(io_retries, "requests repeated after EINTR or EAGAIN")                                       \
    X(io_short, "short transfers continued")                                                       \
    X(io_bounced, "requests that needed an aligned copy")                                          \
    X(bottom_halves, "bottom halves run")                                                          \
    X(timers, "timers fired")                                                                      \
    X(fd_events, "descriptor callbacks run")

typedef struct AioStats {
#define AIO_STATS_FIELD(name, text) uint64_t name;
    AIO_STATS_COUNTERS(AIO_STATS_FIELD)
#undef AIO_STATS_FIELD
} AioStats;

/**
 * Counters as they live: one writer (the home thread, or any thread for
 * wakes_*), readers anywhere.
 */
typedef struct AioCounters {
#define AIO_STATS_FIELD(name, text) _Atomic uint64_t name;
    AIO_STATS_COUNTERS(AIO_STATS_FIELD)
#undef AIO_STATS_FIELD
} AioCounters;

/** Add to a counter that has one writer: a plain load and store, no lock prefix. */
#define aio_counter_add(counter, n)                                                                \
    atomic_store_explicit((counter),                                                               \
                          atomic_load_explicit((counter), memory_order_relaxed) + (uint64_t)(n),   \
                          memory_order_relaxed)

/** Copy @counters to @stats. Any thread. */
void aio_counters_read(const AioCounters *counters, AioStats *stats);

/** @into += @from, field by field. */
void aio_stats_add(AioStats *into, const AioStats *from);

/**
 * Log-linear histogram of non-negative 64-bit values: 16 linear steps in each
 * power of two, so that a reading is off by at most 1/16.
 */
#define AIO_HISTOGRAM_STEPS   16
#define AIO_HISTOGRAM_BUCKETS ((64 - 4) * AIO_HISTOGRAM_STEPS + AIO_HISTOGRAM_STEPS)

typedef struct AioHistogram {
    _Atomic uint64_t count;
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
    _Atomic uint64_t buckets[AIO_HISTOGRAM_BUCKETS];
} AioHistogram;

/** Record one value. One writer thread. */
void aio_histogram_record(AioHistogram *histogram, uint64_t value);

/** Smallest recorded bound that at least @permille of the values do not exceed. Any thread. */
uint64_t aio_histogram_permille(const AioHistogram *histogram, unsigned permille);

/** Add @from to @into (the caller is @into's writer). */
void aio_histogram_merge(AioHistogram *into, const AioHistogram *from);

#endif /* SLUICE_AIO_STATS_H */
