/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A worker that runs behind its clients: see background.h. */
#include "fs/transport/background.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>

#include "aio/context.h"

#define TASKS "/proc/self/task"
/** What the kernel calls the threads of a ring. */
#define RING_THREAD "iou-wrk-"
/** Their number may stay the same while one ends and another begins: look at them now and then. */
#define SURE_LOOKS 16
/** One that had just been started when it ended has its name after so many turns. */
#define REST_TURNS 64

static bool set_policy(pid_t thread, int policy)
{
    const struct sched_param none = {0};

    return sched_setscheduler(thread, policy, &none) == 0;
}

static void *try_there_and_back(void *opaque)
{
    bool *possible = opaque;

    *possible = set_policy(0, SCHED_IDLE) && set_policy(0, SCHED_OTHER);
    return NULL;
}

/** Not on the caller's own thread: it might not come back. */
static bool is_permitted(void)
{
    pthread_t thread;
    bool possible = false;

    return sched_getscheduler(0) == SCHED_OTHER &&
           pthread_create(&thread, NULL, try_there_and_back, &possible) == 0 &&
           pthread_join(thread, NULL) == 0 && possible;
}

/** Nanoseconds that this thread was ready and did not run. False: not known. */
static bool read_run_delay(int fd, uint64_t *delay_ns)
{
    char text[64];
    const ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    return sscanf(text, "%*u %" G_GUINT64_FORMAT, delay_ns) == 1;
}

void fs_background_init(FsBackground *background, bool spins)
{
    uint64_t delay_ns;

    *background = (FsBackground){.schedstat_fd = -1, .spins = spins};
    if (!is_permitted()) {
        return;
    }
    background->schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (background->schedstat_fd >= 0 && !read_run_delay(background->schedstat_fd, &delay_ns)) {
        fs_background_fini(background);
    }
}

static void give_up(FsBackground *background)
{
    close(background->schedstat_fd);
    background->schedstat_fd = -1;
}

/**
 * A client that has its answer comes by this CPU, and finds the worker awake whether it spins or
 * not. What comes from elsewhere, a disk's answer, finds a CPU that sleeps.
 */
static void set_poll_scope(const FsBackground *background)
{
    AioContext *ctx = aio_context_current();
    AioPollParams poll;

    if (ctx == NULL) {
        return;
    }
    aio_context_get_poll_params(ctx, &poll);
    const bool spins = background->spins || poll.scope != AIO_POLL_NOTHING;
    aio_context_set_poll_scope(ctx, background->on && spins ? AIO_POLL_RING_WORK : poll.scope);
}

bool fs_background_is_open(const FsBackground *background, int64_t now)
{
    return background->schedstat_fd >= 0 && fs_starvation_is_over(&background->starvation, now);
}

bool fs_background_enter(FsBackground *background, int64_t now)
{
    uint64_t delay_ns;

    if (background->on || !fs_background_is_open(background, now)) {
        return background->on;
    }
    if (sched_getscheduler(0) != SCHED_OTHER ||
        !read_run_delay(background->schedstat_fd, &delay_ns) || !set_policy(0, SCHED_IDLE)) {
        give_up(background);
        return false;
    }
    fs_starvation_begin(&background->starvation, now, delay_ns);
    background->on = true;
    set_poll_scope(background);
    return true;
}

/** Threads of this process have come or gone, as far as their number tells. */
static bool threads_changed(FsBackground *background)
{
    struct stat st;

    if (stat(TASKS, &st) < 0 ||
        (st.st_nlink == background->threads && ++background->looks % SURE_LOOKS != 0)) {
        return false;
    }
    background->threads = st.st_nlink;
    return true;
}

/** The kernel's threads for our rings have inherited SCHED_IDLE: that was meant for us only. */
static void raise_ring_threads(void)
{
    g_autoptr(GDir) tasks = g_dir_open(TASKS, 0, NULL);
    const char *name;
    while (tasks != NULL && (name = g_dir_read_name(tasks)) != NULL) {
        const pid_t thread = (pid_t)strtol(name, NULL, 10);
        g_autofree char *path = g_strdup_printf(TASKS "/%s/comm", name);
        g_autofree char *comm = NULL;
        if (sched_getscheduler(thread) == SCHED_IDLE &&
            g_file_get_contents(path, &comm, NULL, NULL) && g_str_has_prefix(comm, RING_THREAD)) {
            set_policy(thread, SCHED_OTHER);
        }
    }
}

void fs_background_leave(FsBackground *background)
{
    if (!background->on) {
        return;
    }
    background->on = false;
    set_poll_scope(background);
    if (sched_getscheduler(0) != SCHED_IDLE) {
        give_up(background); /* somebody has another policy in mind */
    } else if (!set_policy(0, SCHED_OTHER)) {
        g_warning("a worker cannot go back to the usual policy of the scheduler, and stays behind "
                  "all other programs: %s; restart sluicefs",
                  g_strerror(errno));
        give_up(background);
    }
    background->rest = REST_TURNS;
    raise_ring_threads();
}

bool fs_background_turn(FsBackground *background, int64_t now, unsigned requests)
{
    uint64_t delay_ns;

    if (!background->on) {
        if (background->rest > 0 && --background->rest == 0) {
            raise_ring_threads();
        }
        return false;
    }
    if (!fs_starvation_count(&background->starvation, now, requests)) {
        return true;
    }
    if (threads_changed(background)) {
        raise_ring_threads();
    }
    if (sched_getscheduler(0) != SCHED_IDLE ||
        !read_run_delay(background->schedstat_fd, &delay_ns) ||
        !fs_starvation_look(&background->starvation, now, delay_ns)) {
        fs_background_leave(background);
    }
    return background->on;
}

void fs_background_fini(FsBackground *background)
{
    fs_background_leave(background);
    if (background->schedstat_fd >= 0) {
        give_up(background);
    }
}
