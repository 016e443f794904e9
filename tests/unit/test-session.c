/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions on real mounts (fs/session, fs/transport, fs/null).
 *
 * Items D of docs/design/aio-behaviours.md are named in the test's path. The
 * file system is fs/null, or "probe": a few files that misbehave on purpose.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/null/null.h"
#include "fs/session/kernel-abi.h"
#include "mount-util.h"
#include "probe-fs.h"
#include "session-clients.h"

/* --- helpers -------------------------------------------------------------------- */

static FsNull *null_userdata;

static void null_params(FsSessionParams *params, unsigned threads)
{
    test_mount_params(params, fs_null_filesystem(), null_userdata);
    params->threads = threads;
}

static void null_up(TestMount *mount, unsigned threads)
{
    FsSessionParams params;
    null_params(&params, threads);
    test_mount_up(mount, &params);
}

static void probe_up(TestMount *mount, Probe *probe, unsigned threads)
{
    FsSessionParams params;
    probe_init(probe);
    test_mount_params(&params, &probe_filesystem, probe);
    params.threads = threads;
    test_mount_up(mount, &params);
}

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

static gboolean keep_ticking(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

/* Turn the main loop until @condition, which nothing announces, holds. */
#define poll_until(condition)                                                                      \
    do {                                                                                           \
        guint timer_ = g_timeout_add(2, keep_ticking, NULL);                                       \
        test_mount_until(condition);                                                               \
        g_source_remove(timer_);                                                                   \
    } while (0)

static TestProcess *start_on(const TestMount *mount, const char *client, const char *file)
{
    g_autofree char *path = test_mount_path(mount, file);
    return test_client_start(client, path, NULL);
}

static int run_on(const TestMount *mount, const char *client, const char *file)
{
    return test_client_join(start_on(mount, client, file));
}

/* --- serving ---------------------------------------------------------------------- */

static const char *const null_files[] = {"null", "direct", "async", "helper"};

static void test_serves(gconstpointer threads)
{
    TestMount mount;
    FsSessionStats stats;

    null_up(&mount, GPOINTER_TO_UINT(threads));
    for (size_t i = 0; i < G_N_ELEMENTS(null_files); i++) {
        g_assert_cmpint(run_on(&mount, "read", null_files[i]), ==, 0);
        g_assert_cmpint(run_on(&mount, "write", null_files[i]), ==, 0);
    }
    g_assert_cmpint(run_on(&mount, "list", ""), ==, 0);
    g_assert_cmpint(run_on(&mount, "statx", "direct"), ==, 0);

    poll_until((fs_session_get_stats(mount.session, &stats), stats.in_flight) == 0);
    g_assert_cmpuint(stats.requests, >=, stats.replies);
    g_assert_cmpuint(stats.offloaded, >, 0);
    g_assert_cmpuint(stats.device_reads + stats.uring_requests, >=,
                     stats.requests + stats.device_eagain);
    g_assert_true((stats.uring_requests > 0) == test_mount_over_uring());
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

static void test_init_result(void)
{
    TestMount mount;
    FsInitResult init;
    Probe probe;

    null_up(&mount, 2);
    fs_session_get_init(mount.session, &init);
    g_assert_cmpuint(init.minor, ==, MIN(init.kernel_minor, FS_FUSE_MINOR));
    g_assert_cmpuint(init.max_background, ==, 256);
    g_assert_cmpuint(init.max_write, ==, 1024 * 1024);
    g_assert_cmpuint(init.flags & ~init.kernel_flags, ==, 0);
    const uint64_t wanted = FUSE_HANDLE_KILLPRIV_V2 | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                            FUSE_MAX_PAGES | FUSE_ABORT_ERROR | FS_FUSE_DIRECT_IO_ALLOW_MMAP;
    g_assert_cmpuint(init.flags & wanted, ==, init.kernel_flags & wanted);
    g_assert_cmpuint(init.flags & FUSE_SETXATTR_EXT, ==, 0);
    test_mount_down(&mount);

    probe_up(&mount, &probe, 1);
    fs_session_get_init(mount.session, &init);
    g_assert_cmpuint(init.flags & FUSE_PARALLEL_DIROPS, ==, 0);
    test_mount_down(&mount);
}

static void test_small_max_write(void)
{
    TestMount mount;
    FsSessionParams params;
    FsInitResult init;

    null_params(&params, 1);
    params.max_write = 4096;
    test_mount_up(&mount, &params);
    fs_session_get_init(mount.session, &init);
    g_assert_cmpuint(init.max_write, ==, 4096);
    g_assert_cmpuint(init.max_pages, ==, 1);
    g_assert_cmpint(run_on(&mount, "read", "direct"), ==, 0);
    g_assert_cmpint(run_on(&mount, "write", "direct"), ==, 0);
    test_mount_down(&mount);
}

/* A worker that may hold two requests still serves sixteen clients. */
static void test_more_requests_than_slots(void)
{
    TestMount mount;
    FsSessionParams params;

    null_params(&params, 1);
    params.max_requests = 2;
    test_mount_up(&mount, &params);
    for (size_t i = 1; i < G_N_ELEMENTS(null_files); i++) {
        TestProcess *load = start_on(&mount, "load", null_files[i]);
        test_client_wait_started(load);
        g_usleep(50000);
        g_assert_cmpint(test_client_join(load), ==, 0);
    }
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

static void test_tmpfile(void)
{
    TestMount mount;
    Probe probe;

    probe_up(&mount, &probe, 1);
    g_assert_cmpint(run_on(&mount, "tmpfile", ""), ==, 0);
    test_mount_down(&mount);

    null_up(&mount, 1);
    g_assert_cmpint(run_on(&mount, "tmpfile", ""), ==, EOPNOTSUPP);
    test_mount_down(&mount);
}

static void test_set_id_bits(void)
{
    TestMount mount;
    Probe probe;

    probe_up(&mount, &probe, 1);
    g_assert_cmpint(run_on(&mount, "write-byte", "setuid"), ==, 0);
    g_assert_cmpint(__atomic_load_n(&probe.set_id_kills, __ATOMIC_SEQ_CST), ==, 1);
    test_mount_down(&mount);
}

/* An INTERRUPT finds its request although another worker may have read it. */
static void test_interrupt(gconstpointer threads)
{
    TestMount mount;
    Probe probe;

    probe_up(&mount, &probe, GPOINTER_TO_UINT(threads));
    for (unsigned i = 0; i < 20; i++) {
        TestProcess *clients_now[4];
        for (size_t j = 0; j < G_N_ELEMENTS(clients_now); j++) {
            clients_now[j] = start_on(&mount, "interrupted-read", "stuck");
        }
        for (size_t j = 0; j < G_N_ELEMENTS(clients_now); j++) {
            g_assert_cmpint(test_client_join(clients_now[j]), ==, EINTR);
        }
        if (g_test_slow() == FALSE && i == 3) {
            break;
        }
    }
    g_assert_cmpint(__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST), ==, 0);
    g_assert_cmpint(__atomic_load_n(&probe.interrupts, __ATOMIC_SEQ_CST), >, 0);
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

/* Clients killed in the middle of their requests leave nothing in flight. */
static void test_killed_clients(gconstpointer threads)
{
    TestMount mount;
    FsSessionStats stats;

    null_up(&mount, GPOINTER_TO_UINT(threads));
    for (unsigned i = 0; i < 12; i++) {
        TestProcess *load = start_on(&mount, "load", null_files[i % G_N_ELEMENTS(null_files)]);
        test_client_wait_started(load);
        g_usleep(1000 * (i % 5));
        g_assert_cmpint(kill(load->pid, SIGKILL), ==, 0);
        g_assert_cmpint(test_client_join(load), ==, 128 + SIGKILL);
    }
    poll_until((fs_session_get_stats(mount.session, &stats), stats.in_flight) == 0);
    g_assert_cmpint(run_on(&mount, "read", "direct"), ==, 0);
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

/* --- ending -------------------------------------------------------------------------- */

static void test_unmount_from_outside(gconstpointer client)
{
    TestMount mount;

    null_up(&mount, 4);
    g_assert_cmpint(run_on(&mount, "read", "direct"), ==, 0);
    g_assert_cmpint(run_on(&mount, client, ""), ==, 0);
    test_mount_until(mount.ended);
    g_assert_cmpint(mount.error, ==, 0);
    test_mount_free(&mount);
}

/* Lazily unmounted from outside: open files are served to their end. */
static void test_lazy_unmount_under_load(void)
{
    TestMount mount;

    null_up(&mount, 2);
    TestProcess *load = start_on(&mount, "load", "async");
    test_client_wait_started(load);
    g_assert_cmpint(run_on(&mount, "unmount-lazily", ""), ==, 0);
    g_usleep(50000);
    g_assert_false(mount.ended);
    g_assert_cmpint(test_client_join(load), ==, 0);
    test_mount_until(mount.ended);
    g_assert_cmpint(mount.error, ==, 0);
    test_mount_free(&mount);
}

/* stop() during load loses nothing: what is open is served until it is closed. */
static void test_stop_under_load(gconstpointer threads)
{
    TestMount mount;

    for (size_t i = 0; i < G_N_ELEMENTS(null_files); i++) {
        null_up(&mount, GPOINTER_TO_UINT(threads));
        TestProcess *load = start_on(&mount, "load", null_files[i]);
        test_client_wait_started(load);
        fs_session_stop(mount.session);
        fs_session_stop(mount.session);
        g_usleep(20000);
        g_assert_cmpint(test_client_join(load), ==, 0);
        test_mount_until(mount.ended);
        g_assert_cmpint(mount.error, ==, 0);
        test_mount_free(&mount);
    }
}

/* stop() of a mount whose files stay open ends in bounded time. */
static void test_stop_busy(void)
{
    TestMount mount;
    FsSessionParams params;

    null_params(&params, 2);
    params.stop_timeout_ms = 200;
    test_mount_up(&mount, &params);
    TestProcess *hold = start_on(&mount, "hold", "direct");
    test_client_wait_started(hold);

    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "files on*still open*");
    fs_session_stop(mount.session);
    test_mount_until(mount.ended);
    g_test_assert_expected_messages();
    g_assert_cmpint(mount.error, ==, ECONNABORTED);
    test_mount_free(&mount);
    g_assert_cmpint(test_client_join(hold), ==, 1);
}

/* EINTR: the answer of an interrupted operation came before the cut. */
static void assert_cut(int status)
{
    if (status != ECONNABORTED && status != ENOTCONN && status != EIO && status != EINTR) {
        g_error("client of a cut connection: %s", g_strerror(status));
    }
}

/* The connection is cut through fusectl while clients are at work. */
static void test_abort_from_outside(gconstpointer threads)
{
    TestMount mount;

    for (size_t i = 0; i < G_N_ELEMENTS(null_files); i++) {
        null_up(&mount, GPOINTER_TO_UINT(threads));
        TestProcess *load = start_on(&mount, "load", null_files[i]);
        test_client_wait_started(load);
        test_mount_abort(&mount);
        test_mount_until(mount.ended);
        g_assert_cmpint(mount.error, ==, ECONNABORTED);
        assert_cut(test_client_join(load));
        test_mount_free(&mount); /* the dead mount has been detached */
    }
}

static void test_abort_call(gconstpointer threads)
{
    TestMount mount;

    for (size_t i = 0; i < G_N_ELEMENTS(null_files); i++) {
        null_up(&mount, GPOINTER_TO_UINT(threads));
        TestProcess *load = start_on(&mount, "load", null_files[i]);
        test_client_wait_started(load);
        if (i % 2) {
            fs_session_stop(mount.session); /* SIGTERM, then again */
        }
        fs_session_abort(mount.session);
        fs_session_abort(mount.session);
        fs_session_stop(mount.session);
        test_mount_until(mount.ended);
        g_assert_cmpint(mount.error, ==, ECONNABORTED);
        assert_cut(test_client_join(load));
        test_mount_free(&mount);
    }
}

/* An abort interrupts operations that wait on helper threads. */
static void test_abort_interrupts_helpers(void)
{
    TestMount mount;
    Probe probe;

    probe_up(&mount, &probe, 2);
    TestProcess *client = start_on(&mount, "read-byte", "stuck");
    poll_until(__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST) == 1);
    fs_session_abort(mount.session);
    test_mount_until(mount.ended);
    g_assert_cmpint(__atomic_load_n(&probe.interrupts, __ATOMIC_SEQ_CST), ==, 1);
    assert_cut(test_client_join(client));
    test_mount_free(&mount);
    g_assert_cmpint(probe.stuck, ==, 0);
}

/* Stop and free in each phase of a session's life. */
static void test_every_phase(void)
{
    TestMount mount;
    FsSessionParams params;
    GError *error = NULL;

    null_params(&params, 2);
    test_mount_new(&mount, &params);
    fs_session_stop(mount.session);
    fs_session_abort(mount.session);
    test_mount_free(&mount);

    test_mount_new(&mount, &params);
    g_assert_true(fs_session_mount(mount.session, &error));
    fs_session_stop(mount.session);
    test_mount_free(&mount);

    /* before INIT has been answered */
    for (unsigned i = 0; i < 10; i++) {
        test_mount_new(&mount, &params);
        g_assert_true(fs_session_mount(mount.session, &error));
        g_assert_true(fs_session_start(mount.session, &error));
        g_assert_true(fs_session_start(mount.session, &error));
        if (i % 2) {
            fs_session_stop(mount.session);
        }
        test_mount_free(&mount);
    }

    test_mount_new(&mount, &params);
    g_assert_true(fs_session_mount(mount.session, &error));
    g_assert_true(fs_session_start(mount.session, &error));
    fs_session_stop(mount.session);
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);

    /* serving, and nobody asked for an end */
    null_up(&mount, 2);
    test_mount_free(&mount);
    g_assert_false(mount.ended);

    /* ended; more of it does no harm */
    null_up(&mount, 2);
    fs_session_stop(mount.session);
    test_mount_until(mount.ended);
    fs_session_stop(mount.session);
    fs_session_abort(mount.session);
    test_mount_free(&mount);
}

static void stop_when_ready(FsSession *session, void *opaque)
{
    fs_session_stop(session);
}

static void free_when_ended(FsSession *session, int error, void *opaque)
{
    bool *ended = opaque;
    g_assert_cmpint(error, ==, 0);
    fs_session_free(session);
    *ended = true;
}

/* The events may act on the session; ended may free it. */
static void test_calls_from_events(void)
{
    FsSessionParams params;
    GError *error = NULL;
    bool ended = false;
    g_autofree char *dir = g_dir_make_tmp(NULL, &error);

    null_params(&params, 2);
    params.mountpoint = dir;
    params.ready = stop_when_ready;
    params.ended = free_when_ended;
    params.opaque = &ended;
    FsSession *session = fs_session_new(&params, &error);
    g_assert_true(fs_session_mount(session, &error));
    g_assert_true(fs_session_start(session, &error));
    test_mount_until(ended);
    g_assert_cmpint(rmdir(dir), ==, 0);
}

/* Freed under load: clients get errors, nobody hangs. */
static void test_free_under_load(void)
{
    TestMount mount;

    null_up(&mount, 4);
    TestProcess *load = start_on(&mount, "load", "helper");
    test_client_wait_started(load);
    test_mount_free(&mount);
    assert_cut(test_client_join(load));
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

/* Without an allocation, so that asking again and again changes nothing. */
static size_t resident_bytes(void)
{
    char text[128];
    unsigned long size, resident;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof(text) - 1);

    g_assert_cmpint(length, >, 0);
    close(fd);
    text[length] = '\0';
    g_assert_cmpint(sscanf(text, "%lu %lu", &size, &resident), ==, 2);
    return resident * (size_t)getpagesize();
}

/* Large requests pin no memory once they have stopped. */
static void test_idle_memory(void)
{
    TestMount mount;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    g_test_skip("the sanitizer's own memory grows with what is touched");
    return;
#endif
    null_up(&mount, 1);
    const size_t before = resident_bytes();
    g_assert_cmpint(run_on(&mount, "big-reads", "helper"), ==, 0);
    poll_until(resident_bytes() < before + 6 * 1024 * 1024);
    test_mount_down(&mount);
}

/* Many clients at once: requests and answers share system calls; none is lost. */
static void test_bursts(void)
{
    TestMount mount;
    FsSessionStats stats;

    null_up(&mount, 1);
    TestProcess *load = start_on(&mount, "load", "async");
    test_client_wait_started(load);
    do { /* enough that the first ones, which are answered one by one, do not count */
        g_usleep(10000);
        fs_session_get_stats(mount.session, &stats);
    } while (stats.requests < 5000);
    g_assert_cmpint(test_client_join(load), ==, 0);
    fs_session_get_stats(mount.session, &stats);
    g_test_message("%u requests, %u turns, %u enters, %u SQEs, %u writes", (unsigned)stats.requests,
                   (unsigned)stats.aio.turns, (unsigned)stats.aio.enters, (unsigned)stats.aio.sqes,
                   (unsigned)stats.device_writes);
    g_assert_cmpuint(stats.aio.turns, <, stats.requests);
    if (stats.aio.sqes > stats.requests) { /* by io_uring: one SQE of the file, one answer */
        /* alone, a request takes three: to begin, to wait, to answer; a burst begins in steps */
        g_assert_cmpuint(stats.aio.enters, <, 2 * stats.requests);
        g_assert_cmpuint(stats.device_writes, <, stats.requests / 10);
    }
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
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

#define THREADS(n) GUINT_TO_POINTER(n)

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, session_clients);
    null_userdata = fs_null_new();

    g_test_add_data_func("/session/serves/1-worker", THREADS(1), test_serves);
    g_test_add_data_func("/session/serves/4-workers", THREADS(4), test_serves);
    g_test_add_func("/session/init-result", test_init_result);
    g_test_add_func("/session/small-max-write", test_small_max_write);
    g_test_add_func("/session/D2-D12-more-requests-than-slots", test_more_requests_than_slots);
    g_test_add_func("/session/idle-memory", test_idle_memory);
    g_test_add_func("/session/tmpfile", test_tmpfile);
    g_test_add_func("/session/set-id-bits", test_set_id_bits);
    g_test_add_data_func("/session/interrupt/1-worker", THREADS(1), test_interrupt);
    g_test_add_data_func("/session/interrupt/4-workers", THREADS(4), test_interrupt);
    g_test_add_data_func("/session/killed-clients/1-worker", THREADS(1), test_killed_clients);
    g_test_add_data_func("/session/killed-clients/4-workers", THREADS(4), test_killed_clients);
    g_test_add_data_func("/session/unmount-from-outside", "unmount", test_unmount_from_outside);
    g_test_add_data_func("/session/unmount-from-outside-lazily", "unmount-lazily",
                         test_unmount_from_outside);
    g_test_add_func("/session/lazy-unmount-under-load", test_lazy_unmount_under_load);
    g_test_add_data_func("/session/D1-stop-under-load/1-worker", THREADS(1), test_stop_under_load);
    g_test_add_data_func("/session/D1-stop-under-load/4-workers", THREADS(4), test_stop_under_load);
    g_test_add_func("/session/stop-busy", test_stop_busy);
    g_test_add_data_func("/session/abort-from-outside/1-worker", THREADS(1),
                         test_abort_from_outside);
    g_test_add_data_func("/session/abort-from-outside/4-workers", THREADS(4),
                         test_abort_from_outside);
    g_test_add_data_func("/session/abort-call/1-worker", THREADS(1), test_abort_call);
    g_test_add_data_func("/session/abort-call/4-workers", THREADS(4), test_abort_call);
    g_test_add_func("/session/abort-interrupts-helpers", test_abort_interrupts_helpers);
    g_test_add_func("/session/D10-stop-in-every-phase", test_every_phase);
    g_test_add_func("/session/calls-from-events", test_calls_from_events);
    g_test_add_func("/session/free-under-load", test_free_under_load);
    g_test_add_func("/session/D3-errors", test_errors);
    g_test_add_func("/session/D5-failed-start", test_failed_start);
    g_test_add_func("/session/D7-requests-before-start", test_requests_before_start);
    g_test_add_func("/session/D8-cpu-set", test_cpu_set);
    g_test_add_func("/session/D11-D14-bursts", test_bursts);
    g_test_add_func("/session/D9-hundred-mounts", test_hundred_mounts);

    int status = g_test_run();
    fs_null_free(null_userdata);
    return status;
}
