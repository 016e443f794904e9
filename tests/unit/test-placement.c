/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where and when a worker runs (fs/transport/placement.c): what the scheduler is told. */
#include "fs/transport/placement.h"

#include <stdint.h>

#include <glib.h>

#include "scheduler-util.h"

static void turns(FsPlacement *placement, unsigned count, unsigned requests)
{
    for (unsigned i = 0; i < count; i++) {
        fs_placement_turn(placement, requests, 0);
    }
}

/* As where the right to come back from SCHED_IDLE is missing. */
static void init_without_background(FsPlacement *placement, unsigned cpu)
{
    fs_placement_init(placement, &cpu, 1, cpu + 2);
    if (placement->on_one) {
        fs_background_fini(&placement->background);
    }
}

static void *test_one_cpu(void *opaque)
{
    const unsigned cpu = some_cpu();
    FsPlacement placement;

    fs_placement_init(&placement, &cpu, 1, cpu + 2);
    fs_placement_turn(&placement, 1, 0);
    g_assert_true(is_only_on(cpu));
    fs_placement_fini(&placement);
    return NULL;
}

/* Away from @cpu, as far as there is another CPU. */
static bool move_away_from(unsigned cpu, const cpu_set_t *allowed)
{
    cpu_set_t others = *allowed;

    CPU_CLR(cpu, &others);
    return CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof(others), &others) == 0;
}

/* The kernel moves it, since its CPU has gone offline: it comes back when the CPU does. */
static void *test_comes_back(void *opaque)
{
    const unsigned cpu = some_cpu();
    FsPlacement placement;
    cpu_set_t before;

    g_assert_cmpint(sched_getaffinity(0, sizeof(before), &before), ==, 0);
    fs_placement_init(&placement, &cpu, 1, cpu + 2);
    fs_placement_turn(&placement, 1, 0);
    placement.online++; /* as if there had been one more */
    if (move_away_from(cpu, &before)) {
        turns(&placement, 5000, 1);
        g_assert_false(is_only_on(cpu));
        /* what the kernel leaves behind */
        g_assert_cmpint(sched_setaffinity(0, sizeof(before), &before), ==, 0);
        placement.online--;
        turns(&placement, 5000, 1);
        g_assert_true(is_only_on(cpu));
    }
    fs_placement_fini(&placement);
    return NULL;
}

/* taskset while it runs: it stays where it was put, with the usual policy. */
static void *test_taskset(void *opaque)
{
    const unsigned cpu = some_cpu();
    FsPlacement placement;
    cpu_set_t before, now;

    g_assert_cmpint(sched_getaffinity(0, sizeof(before), &before), ==, 0);
    fs_placement_init(&placement, &cpu, 1, cpu + 2);
    turns(&placement, 10000, 8);
    if (move_away_from(cpu, &before)) {
        CPU_CLR(cpu, &before);
        turns(&placement, 10000, 8);
        g_assert_cmpint(sched_getaffinity(0, sizeof(now), &now), ==, 0);
        g_assert_true(CPU_EQUAL(&now, &before));
        g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    }
    fs_placement_fini(&placement);
    return NULL;
}

/* chrt while it runs: the policy stays. */
static void *test_chrt(void *opaque)
{
    const struct sched_param none = {0};
    const unsigned cpu = some_cpu();
    FsPlacement placement;

    init_without_background(&placement, cpu);
    turns(&placement, 10000, 8);
    g_assert_cmpint(sched_setscheduler(0, SCHED_IDLE, &none), ==, 0);
    turns(&placement, 10000, 1);
    turns(&placement, 10000, 8);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_IDLE);
    fs_placement_fini(&placement);
    return NULL;
}

/* All queues, no queue, or none that it may run at: it stays as it is. */
static void *test_anywhere(void *opaque)
{
    const unsigned queues[] = {0, 1};
    const unsigned nowhere = 60000;
    FsPlacement placement;
    cpu_set_t before, after;

    g_assert_cmpint(sched_getaffinity(0, sizeof(before), &before), ==, 0);
    fs_placement_init(&placement, queues, 2, 2);
    turns(&placement, 1000, 4);
    g_assert_false(fs_placement_turn(&placement, 1, 0));
    fs_placement_fini(&placement);
    fs_placement_init(&placement, queues, 1, 0);
    turns(&placement, 1000, 4);
    fs_placement_fini(&placement);
    fs_placement_init(&placement, &nowhere, 1, 60001);
    turns(&placement, 1000, 4);
    fs_placement_fini(&placement);
    g_assert_cmpint(sched_getaffinity(0, sizeof(after), &after), ==, 0);
    g_assert_true(CPU_EQUAL(&before, &after));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    return NULL;
}

/* Patient while turns bring several requests, at once again when they do not. */
static void *test_patience(void *opaque)
{
    const unsigned cpu = some_cpu();
    FsPlacement placement;

    init_without_background(&placement, cpu);
    turns(&placement, 10000, 8);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_BATCH);
    g_assert_false(fs_placement_turn(&placement, 8, 0));
    turns(&placement, FS_BURST_PATIENCE, 1);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    fs_placement_fini(&placement);
    return NULL;
}

/* Behind its callers on one CPU, whatever its turns bring; as before when it ends. */
static void *test_background(void *opaque)
{
    const unsigned cpu = some_cpu();
    FsPlacement placement;

    fs_placement_init(&placement, &cpu, 1, cpu + 2);
    const bool permitted = fs_background_is_open(&placement.background, 0);
    g_assert_true(fs_placement_turn(&placement, 1, 0) == permitted);
    g_assert_true(fs_placement_turn(&placement, 1, 0) == permitted);
    turns(&placement, 1000, 8);
    g_assert_cmpint(sched_getscheduler(0), ==, permitted ? SCHED_IDLE : SCHED_BATCH);
    turns(&placement, 1000, 1);
    g_assert_cmpint(sched_getscheduler(0), ==, permitted ? SCHED_IDLE : SCHED_OTHER);
    fs_placement_fini(&placement);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    return NULL;
}

/* Who was told to run only when nothing else does, or before all else, stays so. */
static void *test_other_policy(void *opaque)
{
    const struct sched_param none = {0};
    const unsigned cpu = some_cpu();
    FsPlacement placement;

    g_assert_cmpint(sched_setscheduler(0, SCHED_IDLE, &none), ==, 0);
    fs_placement_init(&placement, &cpu, 1, cpu + 2);
    turns(&placement, 10000, 8);
    turns(&placement, 10000, 1);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_IDLE);
    fs_placement_fini(&placement);
    return NULL;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/placement/one-cpu", (gconstpointer)(uintptr_t)test_one_cpu, in_thread);
    g_test_add_data_func("/placement/comes-back", (gconstpointer)(uintptr_t)test_comes_back,
                         in_thread);
    g_test_add_data_func("/placement/taskset", (gconstpointer)(uintptr_t)test_taskset, in_thread);
    g_test_add_data_func("/placement/chrt", (gconstpointer)(uintptr_t)test_chrt, in_thread);
    g_test_add_data_func("/placement/anywhere", (gconstpointer)(uintptr_t)test_anywhere, in_thread);
    g_test_add_data_func("/placement/patience", (gconstpointer)(uintptr_t)test_patience, in_thread);
    g_test_add_data_func("/placement/background", (gconstpointer)(uintptr_t)test_background,
                         in_thread);
    g_test_add_data_func("/placement/other-policy", (gconstpointer)(uintptr_t)test_other_policy,
                         in_thread);
    return g_test_run();
}
