/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How sessions on real mounts begin: what stops them, what waits for them, where their workers run,
 * and that neither those that fail nor those that end leave anything behind.
 */
#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "session-util.h"

static unsigned entries_of(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;

    g_assert_nonnull(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* No more threads than @most; one that has been joined is listed until it has come to its end. */
static void wait_for_threads(unsigned most)
{
    for (unsigned looks = 0; entries_of("/proc/self/task") > most; looks++) {
        g_assert_cmpuint(looks, <, 4500);
        g_usleep(10000);
    }
}

static void test_errors(void)
{
    FsSessionParams params;
    GError *error = NULL;

    null_params(&params, 1);
    params.mountpoint = "/does/not/exist";
    FsSession *session = fs_session_new(&params, &error);
    g_assert_no_error(error);
    g_assert_false(fs_session_mount(session, &error));
    g_assert_nonnull(strstr(error->message, "/does/not/exist"));
    g_assert_nonnull(strstr(error->message, "No such file"));
    g_clear_error(&error);
    fs_session_free(session);

    params.mountpoint = "/dev/fd/999";
    session = fs_session_new(&params, &error);
    g_assert_false(fs_session_mount(session, &error));
    g_assert_nonnull(strstr(error->message, "Invalid file descriptor"));
    g_clear_error(&error);
    fs_session_free(session);

    params.mountpoint = "/";
    params.mount_options = "nonsense=1";
    session = fs_session_new(&params, &error);
    if (session != NULL) { /* libfuse passes unknown words to the kernel */
        params.mountpoint = "/tmp";
        g_assert_false(fs_session_mount(session, &error));
        fs_session_free(session);
    }
    g_assert_nonnull(error);
    g_clear_error(&error);

    params.mount_options = NULL;
    params.max_write = 1;
    g_assert_null(fs_session_new(&params, &error));
    g_assert_nonnull(strstr(error->message, "max_write"));
    g_clear_error(&error);
}

/* A start that fails says why, leaves nothing behind, and does not hang. */
static void test_failed_start(void)
{
    TestMount mount;
    FsSessionParams params;
    GError *error = NULL;
    struct rlimit limit, low;

    null_params(&params, 4);
    test_mount_new(&mount, &params);
    g_assert_true(fs_session_mount(mount.session, &error));
    const unsigned fds = entries_of("/proc/self/fd");
    const unsigned threads = entries_of("/proc/self/task");
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    low = limit;
    low.rlim_cur = fds;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
    g_assert_false(fs_session_start(mount.session, &error));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    g_assert_nonnull(strstr(error->message, "worker"));
    g_assert_nonnull(strstr(error->message, "Too many open files"));
    g_clear_error(&error);
    test_mount_free(&mount);
    g_assert_cmpuint(entries_of("/proc/self/fd"), <=, fds);
    wait_for_threads(threads);
}

/* What clients ask between mount and start waits, and is served. */
static void test_requests_before_start(void)
{
    TestMount mount;
    FsSessionParams params;
    GError *error = NULL;

    null_params(&params, 4);
    test_mount_new(&mount, &params);
    g_assert_true(fs_session_mount(mount.session, &error));
    TestProcess *read = start_on(&mount, "read", "direct");
    TestProcess *list = start_on(&mount, "list", "");
    g_usleep(50000);
    g_assert_true(fs_session_start(mount.session, &error));
    g_assert_cmpint(test_client_join(read), ==, 0);
    g_assert_cmpint(test_client_join(list), ==, 0);
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

/* Threads with a worker's name that may run on @cpus, and how many with that name may not. */
static unsigned count_workers(const cpu_set_t *cpus, unsigned *elsewhere)
{
    unsigned workers = 0;
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");

    *elsewhere = 0;
    while ((entry = readdir(tasks)) != NULL) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", entry->d_name);
        g_autofree char *name = NULL;
        cpu_set_t set;
        if (g_file_get_contents(path, &name, NULL, NULL) && g_str_has_prefix(name, "fuse-") &&
            sched_getaffinity(atoi(entry->d_name), sizeof(set), &set) == 0) {
            const bool there = CPU_EQUAL(&set, cpus);
            workers += there;
            *elsewhere += !there;
        }
    }
    closedir(tasks);
    return workers;
}

/* Workers run where the thread that starts them may run. */
static void test_cpu_set(void)
{
    TestMount mount;
    cpu_set_t all, one;
    unsigned elsewhere;

    g_assert_cmpint(sched_getaffinity(0, sizeof(all), &all), ==, 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
        }
    }
    g_assert_cmpint(sched_setaffinity(0, sizeof(one), &one), ==, 0);
    null_up(&mount, 3);
    g_assert_cmpint(sched_setaffinity(0, sizeof(all), &all), ==, 0);

    /* a thread that a worker starts has its name for a moment, one that is joined may still end */
    for (unsigned looks = 0; count_workers(&one, &elsewhere) != 3 || elsewhere != 0; looks++) {
        g_assert_cmpuint(looks, <, 4500);
        g_usleep(10000);
    }
    test_mount_down(&mount);
}

/* Nothing is left of a session: no descriptor, no thread, no mount. */
static void test_hundred_mounts(void)
{
    TestMount mount;

    null_up(&mount, 2);
    test_mount_down(&mount);
    const unsigned fds = entries_of("/proc/self/fd");
    const unsigned threads = entries_of("/proc/self/task");
    for (unsigned i = 0; i < 100; i++) {
        null_up(&mount, 1 + i % 4);
        if (i % 10 == 0) {
            g_assert_cmpint(run_on(&mount, "read", null_files[i / 10 % 4]), ==, 0);
        }
        test_mount_down(&mount);
        g_assert_cmpint(mount.error, ==, 0);
    }
    g_assert_cmpuint(entries_of("/proc/self/fd"), ==, fds);
    wait_for_threads(threads);
}

int main(int argc, char **argv)
{
    session_test_init(&argc, &argv);

    g_test_add_func("/session/D3-errors", test_errors);
    g_test_add_func("/session/D5-failed-start", test_failed_start);
    g_test_add_func("/session/D7-requests-before-start", test_requests_before_start);
    g_test_add_func("/session/D8-cpu-set", test_cpu_set);
    g_test_add_func("/session/D9-hundred-mounts", test_hundred_mounts);

    return session_test_run();
}
