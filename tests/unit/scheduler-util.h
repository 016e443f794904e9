/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** For tests of what the scheduler is told: threads, and the CPUs that they may run on. */
#ifndef SLUICE_TESTS_SCHEDULER_UTIL_H
#define SLUICE_TESTS_SCHEDULER_UTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sched.h>

#include <glib.h>

/* Each test in a thread of its own, which takes its place with it. */
static inline void in_thread(gconstpointer function)
{
    pthread_t thread;

    if (sched_getscheduler(0) != SCHED_OTHER) {
        g_test_skip("runs with another policy of the scheduler than the usual one");
        return;
    }
    g_assert_cmpint(pthread_create(&thread, NULL, (void *(*)(void *))(uintptr_t)function, NULL), ==,
                    0);
    pthread_join(thread, NULL);
}

/* Where this thread may run. */
static inline cpu_set_t allowed_cpus(void)
{
    cpu_set_t cpus;

    g_assert_cmpint(sched_getaffinity(0, sizeof(cpus), &cpus), ==, 0);
    return cpus;
}

/* The first of @cpus that is not below @from. */
static inline unsigned next_cpu(const cpu_set_t *cpus, unsigned from)
{
    while (!CPU_ISSET(from, cpus)) {
        from++;
    }
    return from;
}

static inline void run_only_on(unsigned cpu)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    g_assert_cmpint(sched_setaffinity(0, sizeof(cpus), &cpus), ==, 0);
}

static inline bool is_only_on(unsigned cpu)
{
    const cpu_set_t now = allowed_cpus();

    return CPU_COUNT(&now) == 1 && CPU_ISSET(cpu, &now);
}

/* A CPU that this thread may run on. */
static inline unsigned some_cpu(void)
{
    const cpu_set_t allowed = allowed_cpus();
    return next_cpu(&allowed, 0);
}

#endif /* SLUICE_TESTS_SCHEDULER_UTIL_H */
