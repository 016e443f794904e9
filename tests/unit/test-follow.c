/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Behind a client (background.c), on its CPU (follow.c): what the scheduler is told. */
#include "fs/transport/follow.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>
#include <liburing.h>

#include "aio/context-internal.h"

#include "scheduler-util.h"

/** For conditions that are met at once on a machine that does nothing else. */
#define PATIENCE_S 45

static int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static pid_t own_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* --- background --- */

static bool begin_background(FsBackground *background)
{
    fs_background_init(background, false);
    if (!fs_background_is_open(background, 0)) {
        g_test_skip("this user may not come back from SCHED_IDLE");
        return false;
    }
    g_assert_true(fs_background_enter(background, clock_ns()));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_IDLE);
    return true;
}

static void *test_there_and_back(void *opaque)
{
    FsBackground background;

    if (begin_background(&background)) {
        fs_background_leave(&background);
        g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
        g_assert_true(fs_background_enter(&background, clock_ns()));
        fs_background_fini(&background);
        g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    }
    return NULL;
}

/* The loop of a worker behind its client does not spin for the next request. */
static void *test_polls_for_ring_only(void *opaque)
{
    AioContextParams params;
    FsBackground background;
    g_autoptr(GError) error = NULL;

    aio_context_params_init(&params);
    params.poll.insist = true;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    if (begin_background(&background)) {
        g_assert_false(aio_context_may_spin(ctx));
        fs_background_leave(&background);
        g_assert_true(aio_context_may_spin(ctx));
        fs_background_fini(&background);
    }
    aio_context_free(ctx);
    return NULL;
}

/* A loop that spins for nothing does so where that takes nothing from anybody, if told to. */
static void *test_polls_only_behind(void *opaque)
{
    AioContextParams params;
    g_autoptr(GError) error = NULL;

    aio_context_params_init(&params);
    params.poll.scope = AIO_POLL_NOTHING;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    for (int spins = 0; spins <= 1; spins++) {
        FsBackground background;

        fs_background_init(&background, spins);
        g_assert_cmpint(ctx->poll_scope, ==, AIO_POLL_NOTHING);
        if (fs_background_enter(&background, clock_ns())) {
            g_assert_cmpint(ctx->poll_scope, ==, spins ? AIO_POLL_RING_WORK : AIO_POLL_NOTHING);
            fs_background_leave(&background);
            g_assert_cmpint(ctx->poll_scope, ==, AIO_POLL_NOTHING);
        } else {
            g_test_skip("a thread may not go back from SCHED_IDLE here");
        }
        fs_background_fini(&background);
    }
    aio_context_free(ctx);
    return NULL;
}

/* chrt while it is on: the policy stays, for good. */
static void *test_chrt(void *opaque)
{
    const struct sched_param none = {0};
    FsBackground background;

    if (!begin_background(&background)) {
        return NULL;
    }
    g_assert_cmpint(sched_setscheduler(0, SCHED_BATCH, &none), ==, 0);
    for (int64_t now = clock_ns(), i = 0; i < 100; i++, now += FS_STARVATION_LOOK_NS) {
        g_assert_false(fs_background_turn(&background, now + FS_STARVATION_LOOK_NS, 1));
    }
    g_assert_false(fs_background_is_open(&background, INT64_MAX));
    fs_background_fini(&background);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_BATCH);
    return NULL;
}

/* A user who could not come back does not go. */
static void *test_not_permitted(void *opaque)
{
    const unsigned nobody = 65534;
    struct rlimit nice;
    FsBackground background;

    g_assert_cmpint(getrlimit(RLIMIT_NICE, &nice), ==, 0);
    if (nice.rlim_cur >= 20) {
        g_test_skip("RLIMIT_NICE lets anybody come back from SCHED_IDLE");
        return NULL;
    }
    /* of this thread only; libc's function changes all; fails where it is nobody already */
    (void)syscall(SYS_setresuid, nobody, nobody, nobody);
    fs_background_init(&background, false);
    g_assert_false(fs_background_is_open(&background, INT64_MAX));
    g_assert_false(fs_background_enter(&background, clock_ns()));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    fs_background_fini(&background);
    return NULL;
}

static void *hog(void *opaque)
{
    atomic_bool *stop = opaque;

    while (!atomic_load_explicit(stop, memory_order_relaxed)) {
    }
    return NULL;
}

/* Another thread wants the CPU all the time: it does not stay behind. */
static void *test_starves(void *opaque)
{
    FsBackground background;
    atomic_bool stop = false;
    pthread_t thread;
    const cpu_set_t allowed = allowed_cpus();

    run_only_on(next_cpu(&allowed, 0));
    g_assert_cmpint(pthread_create(&thread, NULL, hog, &stop), ==, 0);
    if (begin_background(&background)) {
        const int64_t end = clock_ns() + PATIENCE_S * INT64_C(1000000000);
        int64_t now = clock_ns();
        while (fs_background_turn(&background, now, 1) && now < end) {
            g_usleep(100);
            now = clock_ns();
        }
        g_assert_false(background.on);
        g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
        g_assert_false(fs_background_enter(&background, now));
        fs_background_fini(&background);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    return NULL;
}

/* Threads of the kernel's for a ring of this thread, and how many of them have SCHED_IDLE. */
static unsigned ring_threads(unsigned *idle)
{
    g_autoptr(GDir) tasks = g_dir_open("/proc/self/task", 0, NULL);
    g_autofree char *wanted = g_strdup_printf("iou-wrk-%d", (int)own_id());
    unsigned count = 0;
    const char *name;

    *idle = 0;
    while ((name = g_dir_read_name(tasks)) != NULL) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", name);
        g_autofree char *comm = NULL;
        if (g_file_get_contents(path, &comm, NULL, NULL) && strcmp(g_strchomp(comm), wanted) == 0) {
            count++;
            *idle += sched_getscheduler((pid_t)g_ascii_strtoll(name, NULL, 10)) == SCHED_IDLE;
        }
    }
    return count;
}

/* The kernel's threads for its ring do not stay behind. */
static void *test_ring_threads(void *opaque)
{
    FsBackground background;
    struct io_uring ring;
    unsigned idle;

    if (io_uring_queue_init(4, &ring, 0) < 0) {
        g_test_skip("no io_uring here");
        return NULL;
    }
    if (begin_background(&background)) {
        struct io_uring_cqe *cqe;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_nop(sqe);
        sqe->flags |= IOSQE_ASYNC;
        g_assert_cmpint(io_uring_submit_and_wait(&ring, 1), ==, 1);
        g_assert_cmpint(io_uring_wait_cqe(&ring, &cqe), ==, 0);
        g_assert_cmpuint(ring_threads(&idle), >, 0);
        g_assert_cmpuint(idle, >, 0);
        fs_background_turn(&background, clock_ns() + FS_STARVATION_LOOK_NS, 1000000);
        ring_threads(&idle);
        g_assert_cmpuint(idle, ==, 0);
        fs_background_fini(&background);
    }
    io_uring_queue_exit(&ring);
    return NULL;
}

/* --- follow --- */

typedef struct Client {
    unsigned cpu;
    pid_t id;
    pthread_mutex_t lock; /* held as long as it shall live */
    pthread_barrier_t there;
    pthread_t thread;
} Client;

static void *client_main(void *opaque)
{
    Client *client = opaque;

    run_only_on(client->cpu);
    client->id = own_id();
    pthread_barrier_wait(&client->there);
    pthread_mutex_lock(&client->lock);
    pthread_mutex_unlock(&client->lock);
    return NULL;
}

/* A thread that sleeps on @cpu. */
static void client_start(Client *client, unsigned cpu)
{
    client->cpu = cpu;
    pthread_mutex_init(&client->lock, NULL);
    pthread_mutex_lock(&client->lock);
    pthread_barrier_init(&client->there, NULL, 2);
    g_assert_cmpint(pthread_create(&client->thread, NULL, client_main, client), ==, 0);
    pthread_barrier_wait(&client->there);
}

static void client_stop(Client *client)
{
    pthread_mutex_unlock(&client->lock);
    pthread_join(client->thread, NULL);
    pthread_barrier_destroy(&client->there);
    pthread_mutex_destroy(&client->lock);
}

static void *test_cpu_of(void *opaque)
{
    const cpu_set_t allowed = allowed_cpus();
    const unsigned cpu = next_cpu(&allowed, 0);

    run_only_on(cpu);
    g_assert_cmpint(fs_follow_cpu_of(own_id()), ==, (int)cpu);
    pthread_setname_np(pthread_self(), "odd) 1 (2");
    g_assert_cmpint(fs_follow_cpu_of(own_id()), ==, (int)cpu);
    g_assert_cmpint(fs_follow_cpu_of(0), <, 0);
    g_assert_cmpint(fs_follow_cpu_of(INT_MAX), <, 0);
    return NULL;
}

/* As many turns as it takes it to go, or to look again. */
static void turns(FsFollow *follow, bool alone, const Client *client)
{
    for (unsigned i = 0; i < 2000; i++) {
        fs_follow_turn(follow, 1, alone, client->id, 1);
    }
}

/* False: not here. */
static bool begin_follow(FsFollow *follow, const cpu_set_t *home)
{
    fs_follow_init(follow);
    if (CPU_COUNT(home) < 2 || follow->home == NULL) {
        g_test_skip("needs two CPUs, and the right to come back from SCHED_IDLE");
        g_assert_null(follow->home);
        return false;
    }
    return true;
}

static void *test_goes_and_comes(void *opaque)
{
    const cpu_set_t home = allowed_cpus();
    const unsigned first = next_cpu(&home, 0);
    Client one, other;
    FsFollow follow;

    if (!begin_follow(&follow, &home)) {
        return NULL;
    }
    client_start(&one, first);
    client_start(&other, next_cpu(&home, first + 1));

    turns(&follow, false, &one);
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    turns(&follow, true, &one);
    g_assert_true(is_only_on(one.cpu));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_IDLE);
    turns(&follow, true, &other);
    g_assert_true(is_only_on(other.cpu));

    turns(&follow, false, &one);
    cpu_set_t now = allowed_cpus();
    g_assert_true(CPU_EQUAL(&now, &home));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);

    turns(&follow, true, &one);
    g_assert_true(is_only_on(one.cpu));
    fs_follow_go_home(&follow);
    now = allowed_cpus();
    g_assert_true(CPU_EQUAL(&now, &home));
    turns(&follow, true, &other);
    fs_follow_fini(&follow);
    now = allowed_cpus();
    g_assert_true(CPU_EQUAL(&now, &home));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    client_stop(&one);
    client_stop(&other);
    return NULL;
}

/* taskset while it is away, to more than where it is: it may run there, and follows nobody. */
static void *test_taskset_to_more(void *opaque)
{
    const cpu_set_t home = allowed_cpus();
    Client client;
    FsFollow follow;

    if (!begin_follow(&follow, &home)) {
        return NULL;
    }
    client_start(&client, next_cpu(&home, 0));
    turns(&follow, true, &client);
    g_assert_true(is_only_on(client.cpu));
    g_assert_cmpint(sched_setaffinity(0, sizeof(home), &home), ==, 0);
    turns(&follow, true, &client);
    const cpu_set_t now = allowed_cpus();
    g_assert_true(CPU_EQUAL(&now, &home));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    fs_follow_fini(&follow);
    client_stop(&client);
    return NULL;
}

/* taskset: it stays where it was put, and follows nobody. */
static void taskset(bool away)
{
    const cpu_set_t home = allowed_cpus();
    const unsigned first = next_cpu(&home, 0);
    Client client;
    FsFollow follow;

    if (!begin_follow(&follow, &home)) {
        return;
    }
    const unsigned second = next_cpu(&home, first + 1);
    client_start(&client, first);
    if (away) {
        turns(&follow, true, &client);
        g_assert_true(is_only_on(first));
    }
    run_only_on(second);
    turns(&follow, true, &client);
    turns(&follow, false, &client);
    turns(&follow, true, &client);
    g_assert_true(is_only_on(second));
    g_assert_cmpint(sched_getscheduler(0), ==, SCHED_OTHER);
    fs_follow_fini(&follow);
    g_assert_true(is_only_on(second));
    client_stop(&client);
}

static void *test_taskset_away(void *opaque)
{
    taskset(true);
    return NULL;
}

static void *test_taskset_at_home(void *opaque)
{
    taskset(false);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void *(*function)(void *);
    } tests[] = {
        {"/background/there-and-back", test_there_and_back},
        {"/background/polls-for-ring-only", test_polls_for_ring_only},
        {"/background/polls-only-behind", test_polls_only_behind},
        {"/background/chrt", test_chrt},
        {"/background/not-permitted", test_not_permitted},
        {"/background/starves", test_starves},
        {"/background/ring-threads", test_ring_threads},
        {"/follow/cpu-of", test_cpu_of},
        {"/follow/goes-and-comes", test_goes_and_comes},
        {"/follow/taskset-away", test_taskset_away},
        {"/follow/taskset-at-home", test_taskset_at_home},
        {"/follow/taskset-to-more", test_taskset_to_more},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_test_add_data_func(tests[i].name, (gconstpointer)(uintptr_t)tests[i].function, in_thread);
    }
    return g_test_run();
}
