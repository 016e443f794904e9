/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A worker that follows its client: see follow.h. */
#include "fs/transport/follow.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <glib.h>

/** It goes away after so many requests that came alone ... */
#define ALONE_REQUESTS 64
/** ... looks where its client is after so many turns of one request, later and later ... */
#define PATIENCE_MIN 8
#define PATIENCE_MAX 512
/** ... and goes home when more than one turn in five brings requests that are not alone. */
#define TOGETHER_STEP  4u
#define TOGETHER_LIMIT 16u
/** CPUs that a set has room for. */
#define MOST_CPUS (UINT16_MAX + 1)
/** The fields of /proc/PID/stat between the name's parenthesis and the CPU. */
#define FIELDS_BEFORE_CPU 36

int fs_follow_cpu_of(pid_t thread)
{
    char path[64], text[1024];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)thread, (int)thread);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[MAX(length, 0)] = '\0';
    const char *field = strrchr(text, ')');
    for (unsigned i = 0; field != NULL && i <= FIELDS_BEFORE_CPU; i++) {
        field = strchr(field + 1, ' ');
    }
    int cpu;
    return field != NULL && sscanf(field, "%d", &cpu) == 1 ? cpu : -1;
}

/** Whether somebody else has chosen its CPUs since it went away. */
static bool is_moved(const FsFollow *follow)
{
    cpu_set_t *now = CPU_ALLOC(MOST_CPUS);
    const bool known = now != NULL && sched_getaffinity(0, follow->size, now) == 0;
    const bool there =
        known && CPU_COUNT_S(follow->size, now) == 1 && CPU_ISSET_S(follow->cpu, follow->size, now);

    if (now != NULL) {
        CPU_FREE(now);
    }
    return !there;
}

/** Where it may run now, before it goes away. False: it cannot go anywhere. */
static bool learn_home(FsFollow *follow)
{
    return sched_getaffinity(0, follow->size, follow->home) == 0 &&
           CPU_COUNT_S(follow->size, follow->home) > 1;
}

static void give_up(FsFollow *follow)
{
    fs_background_fini(&follow->background);
    if (follow->home != NULL) {
        CPU_FREE(follow->home);
        follow->home = NULL;
    }
    follow->away = false;
}

void fs_follow_init(FsFollow *follow)
{
    *follow = (FsFollow){.size = CPU_ALLOC_SIZE(MOST_CPUS)};
    fs_background_init(&follow->background, false);
    if (!fs_background_is_open(&follow->background, 0)) {
        return;
    }
    follow->home = CPU_ALLOC(MOST_CPUS);
    if (follow->home == NULL || !learn_home(follow)) {
        give_up(follow);
    }
}

void fs_follow_go_home(FsFollow *follow)
{
    follow->alone = 0;
    if (!follow->away) {
        return;
    }
    if (is_moved(follow)) {
        give_up(follow);
        return;
    }
    fs_background_leave(&follow->background);
    sched_setaffinity(0, follow->size, follow->home);
    follow->away = false;
}

static bool go_to(FsFollow *follow, unsigned cpu)
{
    cpu_set_t *cpus = CPU_ALLOC(cpu + 1);

    if (cpus == NULL) {
        return false;
    }
    const size_t size = CPU_ALLOC_SIZE(cpu + 1);
    CPU_ZERO_S(size, cpus);
    CPU_SET_S(cpu, size, cpus);
    const bool there = sched_setaffinity(0, size, cpus) == 0;
    CPU_FREE(cpus);
    return there;
}

/** Go where @client is. */
static void look_after(FsFollow *follow, pid_t client, int64_t now)
{
    follow->apart = 0;
    follow->patience = MIN(2 * follow->patience, PATIENCE_MAX);
    if (follow->away ? is_moved(follow) : !learn_home(follow)) {
        give_up(follow);
        return;
    }
    const int cpu = client > 0 ? fs_follow_cpu_of(client) : -1;
    if (cpu < 0 || !CPU_ISSET_S((unsigned)cpu, follow->size, follow->home) ||
        (follow->away && (unsigned)cpu == follow->cpu)) {
        return;
    }
    if (!fs_background_enter(&follow->background, now)) {
        return;
    }
    if (go_to(follow, (unsigned)cpu)) {
        follow->away = true;
        follow->cpu = (unsigned)cpu;
        follow->together = 0;
        follow->patience = PATIENCE_MIN;
    } else if (!follow->away) {
        fs_background_leave(&follow->background);
    }
}

void fs_follow_turn(FsFollow *follow, unsigned requests, bool alone, pid_t client, int64_t now)
{
    if (follow->home == NULL) {
        return;
    }
    follow->alone = alone ? follow->alone + requests : 0;
    if (!follow->away) {
        (void)fs_background_turn(&follow->background, now, requests);
        if (follow->alone >= ALONE_REQUESTS && fs_background_is_open(&follow->background, now)) {
            follow->alone = 0;
            look_after(follow, client, now);
        }
        return;
    }
    if (!alone) {
        follow->together += TOGETHER_STEP;
    } else if (follow->together > 0) {
        follow->together--;
    }
    if (follow->together >= TOGETHER_LIMIT ||
        !fs_background_turn(&follow->background, now, requests)) {
        fs_follow_go_home(follow);
    } else if (requests > 1) {
        follow->apart = 0;
        follow->patience = PATIENCE_MIN;
    } else if (++follow->apart >= follow->patience) {
        look_after(follow, client, now);
    }
}

void fs_follow_unasked(FsFollow *follow, unsigned requests, int64_t now)
{
    if (follow->away && !fs_background_turn(&follow->background, now, requests)) {
        fs_follow_go_home(follow);
    }
}

void fs_follow_fini(FsFollow *follow)
{
    fs_follow_go_home(follow);
    if (follow->home != NULL) {
        give_up(follow);
    }
}
