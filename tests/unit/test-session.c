/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions on real mounts serve what clients ask of fs/null, or of "probe": a few files that
 * misbehave on purpose. How a session begins and ends: test-session-start and test-session-end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/session/kernel-abi.h"
#include "session-util.h"

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

    test_mount_poll_until((fs_session_get_stats(mount.session, &stats), stats.in_flight) == 0);
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
    test_mount_poll_until((fs_session_get_stats(mount.session, &stats), stats.in_flight) == 0);
    g_assert_cmpint(run_on(&mount, "read", "direct"), ==, 0);
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
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
    test_mount_poll_until(resident_bytes() < before + 6 * 1024 * 1024);
    test_mount_down(&mount);
}

int main(int argc, char **argv)
{
    session_test_init(&argc, &argv);

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
    g_test_add_func("/session/D11-D14-bursts", test_bursts);

    return session_test_run();
}
