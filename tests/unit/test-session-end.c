/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How sessions on real mounts end: unmounted, stopped, cut and freed, in every phase of their life
 * and under load.
 */
#include <errno.h>
#include <unistd.h>

#include "session-util.h"

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
    test_mount_poll_until(__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST) == 1);
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

int main(int argc, char **argv)
{
    session_test_init(&argc, &argv);

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

    return session_test_run();
}
