/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Threads that publish events for an AioContext and notify it, and the consumer that counts them.
 */
#ifndef SLUICE_TESTS_NOTIFY_PRODUCERS_H
#define SLUICE_TESTS_NOTIFY_PRODUCERS_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "aio/context.h"

/* Spin for a random while, so that the threads meet in many ways. */
static inline void dither(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    for (volatile unsigned i = 0; i < (*random >> 24); i = i + 1) {
    }
}

enum { PRODUCERS = 2 };

typedef struct Stress {
    AioContext *ctx;
    unsigned per_producer;
    unsigned window;                  /* most events of a producer that are not consumed */
    _Atomic unsigned gone[PRODUCERS]; /* published by each */
    _Atomic unsigned seen[PRODUCERS]; /* consumed */
    _Atomic unsigned next;
} Stress;

/* Publish all events of one thread; publish() says so each time. */
static inline void *produce(Stress *stress, void (*publish)(void *opaque), void *opaque)
{
    unsigned me = atomic_fetch_add(&stress->next, 1);
    uint32_t random = me + 1;

    for (unsigned i = 1; i <= stress->per_producer; i++) {
        while (i - atomic_load_explicit(&stress->seen[me], memory_order_relaxed) > stress->window) {
            sched_yield();
        }
        /* Relaxed: it is publish() that has to order it. */
        atomic_store_explicit(&stress->gone[me], i, memory_order_relaxed);
        publish(opaque);
        dither(&random);
    }
    return NULL;
}

static inline void notify_context(void *opaque)
{
    aio_context_notify(opaque);
}

static inline void *notify_producer(void *opaque)
{
    Stress *stress = opaque;
    return produce(stress, notify_context, stress->ctx);
}

/* Take what was published. Whether that was all. */
static inline bool notify_consume(Stress *stress)
{
    bool over = true;
    for (unsigned i = 0; i < PRODUCERS; i++) {
        unsigned gone = atomic_load_explicit(&stress->gone[i], memory_order_relaxed);
        atomic_store_explicit(&stress->seen[i], gone, memory_order_relaxed);
        over &= gone == stress->per_producer;
    }
    return over;
}

static inline void start_producers(pthread_t *threads, void *(*fn)(void *), void *opaque)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        g_assert_cmpint(pthread_create(&threads[i], NULL, fn, opaque), ==, 0);
    }
}

static inline void join_producers(pthread_t *threads)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
}

#endif /* SLUICE_TESTS_NOTIFY_PRODUCERS_H */
