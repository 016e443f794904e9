/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where and when a worker runs: see placement.h. */
#include "fs/transport/placement.h"

#include <stdint.h>

#include <glib.h>

/** Its place is looked at once in so many requests: a CPU that goes offline ends it. */
#define LOOK_REQUESTS 1024

static void free_cpus(cpu_set_t *cpus)
{
    if (cpus != NULL) {
        CPU_FREE(cpus);
    }
}

void fs_placement_init(FsPlacement *placement, const unsigned *queues, unsigned count,
                       unsigned all_queues)
{
    *placement = (FsPlacement){0};
    if (count == 0 || count >= all_queues) {
        return;
    }
    /* a queue's number has 16 bits */
    placement->size = CPU_ALLOC_SIZE(UINT16_MAX + 1);
    cpu_set_t *allowed = CPU_ALLOC(UINT16_MAX + 1);
    cpu_set_t *cpus = CPU_ALLOC(UINT16_MAX + 1);
    if (allowed != NULL && cpus != NULL && sched_getaffinity(0, placement->size, allowed) == 0) {
        CPU_ZERO_S(placement->size, cpus);
        for (unsigned i = 0; i < count; i++) {
            CPU_SET_S(queues[i], placement->size, cpus);
        }
        CPU_AND_S(placement->size, cpus, cpus, allowed);
        if (CPU_COUNT_S(placement->size, cpus) > 0) {
            placement->cpus = g_steal_pointer(&cpus);
        }
    }
    /* not for one that has a real-time policy, or is to run when nothing else does */
    placement->may_wait = sched_getscheduler(0) == SCHED_OTHER;
    free_cpus(allowed);
    free_cpus(cpus);
}

/** Go there if not there; where that cannot be (offline, not allowed), stay. */
static void look(FsPlacement *placement)
{
    const int cpu = sched_getcpu();

    placement->until_look = LOOK_REQUESTS;
    if (!placement->placed || cpu < 0 ||
        !CPU_ISSET_S((unsigned)cpu, placement->size, placement->cpus)) {
        placement->placed = sched_setaffinity(0, placement->size, placement->cpus) == 0;
    }
}

static void set_patient(FsPlacement *placement, bool patient)
{
    const struct sched_param none = {0};

    if (placement->may_wait && placement->patient != patient &&
        sched_setscheduler(0, patient ? SCHED_BATCH : SCHED_OTHER, &none) == 0) {
        placement->patient = patient;
    }
}

void fs_placement_turn(FsPlacement *placement, unsigned requests)
{
    if (placement->cpus == NULL) {
        return;
    }
    if (placement->until_look <= requests) {
        look(placement);
    } else {
        placement->until_look -= requests;
    }
    if (placement->placed) {
        fs_burst_end(&placement->burst, requests);
        set_patient(placement, placement->burst.hold);
    }
}

void fs_placement_fini(FsPlacement *placement)
{
    free_cpus(g_steal_pointer(&placement->cpus));
}
