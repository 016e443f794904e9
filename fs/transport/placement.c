/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where and when a worker runs: see placement.h. */
#include "fs/transport/placement.h"

#include <stdint.h>

#include <glib.h>

#include "fs/transport/queues.h"

/** Its place is looked at once in so many requests: others may move it. */
#define LOOK_REQUESTS 1024
/** The number of a queue, and so of a CPU, has 16 bits. */
#define MOST_CPUS (UINT16_MAX + 1)

static void free_cpus(cpu_set_t *cpus)
{
    if (cpus != NULL) {
        CPU_FREE(cpus);
    }
}

/** Take from @cpus those where this thread may not run now. False: none is left. */
static bool keep_allowed(size_t size, cpu_set_t *cpus)
{
    cpu_set_t *allowed = CPU_ALLOC(MOST_CPUS);
    bool any = false;

    if (allowed != NULL && sched_getaffinity(0, size, allowed) == 0) {
        CPU_AND_S(size, cpus, cpus, allowed);
        any = CPU_COUNT_S(size, cpus) > 0;
    }
    free_cpus(allowed);
    return any;
}

void fs_placement_init(FsPlacement *placement, const unsigned *queues, unsigned count,
                       unsigned all_queues)
{
    *placement = (FsPlacement){0};
    if (count == 0 || count >= all_queues) {
        return;
    }
    placement->size = CPU_ALLOC_SIZE(MOST_CPUS);
    cpu_set_t *cpus = CPU_ALLOC(MOST_CPUS);
    if (cpus != NULL) {
        CPU_ZERO_S(placement->size, cpus);
        for (unsigned i = 0; i < count; i++) {
            CPU_SET_S(queues[i], placement->size, cpus);
        }
        if (keep_allowed(placement->size, cpus)) {
            placement->cpus = g_steal_pointer(&cpus);
        }
    }
    placement->online = fs_queues_count_online();
    /* not for one that has a real-time policy, or is to run when nothing else does */
    placement->may_wait = sched_getscheduler(0) == SCHED_OTHER;
    placement->on_one =
        placement->cpus != NULL && CPU_COUNT_S(placement->size, placement->cpus) == 1;
    if (placement->on_one) {
        fs_background_init(&placement->background, true);
    }
    free_cpus(cpus);
}

static void set_patient(FsPlacement *placement, bool patient)
{
    const struct sched_param none = {0};

    if (!placement->may_wait || placement->patient == patient) {
        return;
    }
    if (sched_getscheduler(0) != (placement->patient ? SCHED_BATCH : SCHED_OTHER)) {
        placement->may_wait = false; /* somebody has another policy in mind: chrt */
    } else if (sched_setscheduler(0, patient ? SCHED_BATCH : SCHED_OTHER, &none) == 0) {
        placement->patient = patient;
    }
}

static void leave_background(FsPlacement *placement)
{
    if (placement->on_one) {
        fs_background_leave(&placement->background);
    }
}

/** Whether it runs behind its callers after this turn. */
static bool is_behind(FsPlacement *placement, unsigned requests, int64_t now)
{
    FsBackground *background = &placement->background;

    if (!placement->on_one) {
        return false;
    }
    if (fs_background_turn(background, now, requests)) {
        return true;
    }
    if (!fs_background_is_open(background, now)) {
        return false;
    }
    set_patient(placement, false);
    return fs_background_enter(background, now);
}

/** Somebody else has chosen CPUs for this thread: it runs where they want it. */
static void give_up(FsPlacement *placement)
{
    leave_background(placement);
    set_patient(placement, false);
    free_cpus(g_steal_pointer(&placement->cpus));
    placement->place = FS_PLACE_NONE;
}

/*
 * It is not at its place any more. The kernel moves a thread whose CPUs have all gone
 * offline, and leaves it there when they come back; whoever else moves it means it.
 */
static bool may_go_back(FsPlacement *placement)
{
    const unsigned now = fs_queues_count_online();
    const bool all_online = now == 0 || now >= placement->online; /* 0: nobody knows */

    if (!all_online) {
        placement->place = FS_PLACE_OFFLINE;
        leave_background(placement);
    } else if (placement->place != FS_PLACE_OFFLINE ||
               !keep_allowed(placement->size, placement->cpus)) {
        give_up(placement);
        return false;
    }
    return all_online;
}

static void look(FsPlacement *placement)
{
    const int cpu = sched_getcpu();

    placement->until_look = LOOK_REQUESTS;
    if (placement->place == FS_PLACE_THERE && cpu >= 0 &&
        CPU_ISSET_S((unsigned)cpu, placement->size, placement->cpus)) {
        return;
    }
    if ((placement->place == FS_PLACE_NONE || may_go_back(placement)) &&
        sched_setaffinity(0, placement->size, placement->cpus) == 0) {
        placement->place = FS_PLACE_THERE;
    }
}

bool fs_placement_turn(FsPlacement *placement, unsigned requests, int64_t now)
{
    if (placement->cpus == NULL) {
        return false;
    }
    if (placement->until_look <= requests) {
        look(placement);
    } else {
        placement->until_look -= requests;
    }
    if (placement->place != FS_PLACE_THERE) {
        return false;
    }
    const bool behind = is_behind(placement, requests, now);
    if (!behind) {
        fs_burst_end(&placement->burst, requests);
        set_patient(placement, placement->burst.hold);
    }
    return behind;
}

void fs_placement_fini(FsPlacement *placement)
{
    if (placement->on_one) {
        fs_background_fini(&placement->background);
        placement->on_one = false;
    }
    free_cpus(g_steal_pointer(&placement->cpus));
}
