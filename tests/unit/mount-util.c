/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Real mounts in unit tests: see mount-util.h. */
#include "mount-util.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define FUSE_URING      "/sys/module/fuse/parameters/enable_uring"
#define FUSE_URING_LOCK "/tmp/fuse-param.lock"
/** Seconds without a new mount after which the last one is cut; less than meson's limit. */
#define WATCHDOG_SECONDS 150

/** Read by the signal handler. */
static char watchdog_path[64];

static void watchdog(int signal_number)
{
    static const char text[] = "Bail out! watchdog: the mount hangs, cutting its connection\n";
    ssize_t ignored = write(STDOUT_FILENO, text, sizeof(text) - 1);
    int fd = open(watchdog_path, O_WRONLY);
    if (fd >= 0) {
        ignored = write(fd, "1", 1);
    }
    (void)ignored;
    signal(SIGALRM, SIG_DFL);
    alarm(5);
}

static void skip(const char *why)
{
    printf("1..0 # SKIP %s: %s\n", why, g_strerror(errno));
    exit(0);
}

bool test_mount_over_uring(void)
{
    return g_strcmp0(g_getenv("SLUICE_TEST_TRANSPORT"), "uring") == 0;
}

static bool write_parameter(char value)
{
    int fd = open(FUSE_URING, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, &value, 1) == 1;

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool test_fuse_uring_hold(TestFuseUring *held, bool on)
{
    int fd = open(FUSE_URING, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0;

    held->lock = open(FUSE_URING_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ok && held->lock >= 0) {
        while (flock(held->lock, LOCK_EX) < 0 && errno == EINTR) {
        }
        ok = read(fd, &held->before, 1) == 1 && write_parameter(on ? 'Y' : 'N');
    }
    if (fd >= 0) {
        close(fd);
    }
    if (!ok && held->lock >= 0) {
        close(held->lock);
    }
    return ok && held->lock >= 0;
}

void test_fuse_uring_release(TestFuseUring *held)
{
    write_parameter(held->before);
    close(held->lock);
}

/* The namespace begins as a copy, and a copy of a mount outlives the unmounting by its owner. */
static void let_go_of_others(void)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    FILE *table = setmntent("/proc/self/mounts", "r");

    g_assert_nonnull(table);
    for (struct mntent *entry = getmntent(table); entry != NULL; entry = getmntent(table)) {
        if (strcmp(entry->mnt_type, "fuse.sluicefs") == 0) {
            g_ptr_array_add(paths, g_strdup(entry->mnt_dir));
        }
    }
    endmntent(table);
    for (guint i = paths->len; i > 0; i--) {
        umount2(g_ptr_array_index(paths, i - 1), MNT_DETACH);
    }
}

static void enter_private_namespace(void)
{
    if (geteuid() != 0) {
        errno = EPERM;
        skip("mounting needs root");
    }
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        skip("/dev/fuse");
    }
    close(fd);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        skip("a private mount namespace");
    }
    let_go_of_others();
    if (access("/sys/fs/fuse/connections", F_OK) < 0 ||
        (mount("none", "/sys/fs/fuse/connections", "fusectl", 0, NULL) < 0 && errno != EBUSY)) {
        skip("the fusectl file system");
    }
}

void test_mount_init(int *argc, char ***argv, const TestClient *clients)
{
    if (*argc > 2 && strcmp((*argv)[1], "--client") == 0) {
        for (; clients->name != NULL; clients++) {
            if (strcmp(clients->name, (*argv)[2]) == 0) {
                exit(clients->run(*argv + 3));
            }
        }
        fprintf(stderr, "no client %s\n", (*argv)[2]);
        exit(99);
    }
    enter_private_namespace();
    if (test_mount_over_uring()) {
        TestFuseUring held;
        if (!test_fuse_uring_hold(&held, true)) {
            skip(FUSE_URING);
        }
        test_fuse_uring_release(&held);
    }
    test_init(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, watchdog);
}

void test_mount_params(FsSessionParams *params, const FsFilesystem *filesystem, void *userdata)
{
    fs_session_params_init(params);
    test_context_params(&params->context);
    params->filesystem = filesystem;
    params->userdata = userdata;
    params->source = "test, with a comma";
    params->subtype = "sluicefs";
    params->threads = 1;
    params->transport = test_mount_over_uring() ? FS_TRANSPORT_URING : FS_TRANSPORT_DEVICE;
}

static void mount_ready(FsSession *session, void *opaque)
{
    TestMount *test = opaque;
    g_assert_false(test->ready);
    test->ready = true;
}

static void mount_ended(FsSession *session, int error, void *opaque)
{
    TestMount *test = opaque;
    g_assert_false(test->ended);
    test->ended = true;
    test->error = error;
}

void test_mount_new(TestMount *test, const FsSessionParams *params)
{
    GError *error = NULL;
    g_autofree char *dir = g_dir_make_tmp("sluice mount XXXXXX", &error);

    g_assert_no_error(error);
    test_mount_new_at(test, params, dir);
}

void test_mount_new_at(TestMount *test, const FsSessionParams *given, const char *dir)
{
    GError *error = NULL;
    FsSessionParams params = *given;

    *test = (TestMount){0};
    test->dir = g_strdup(dir);
    params.mountpoint = test->dir;
    params.ready = mount_ready;
    params.ended = mount_ended;
    params.opaque = test;
    test->session = fs_session_new(&params, &error);
    g_assert_no_error(error);
}

void test_mount_up(TestMount *test, const FsSessionParams *params)
{
    test_mount_new(test, params);
    test_mount_start(test);
}

void test_mount_start(TestMount *test)
{
    GError *error = NULL;
    TestFuseUring held;
    g_autofree char *reason = NULL;

    if (test_mount_over_uring()) {
        g_assert_true(test_fuse_uring_hold(&held, true));
    }
    g_assert_true(fs_session_mount(test->session, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(fs_session_device(test->session), !=, 0);
    test->connection = minor(fs_session_device(test->session));
    g_snprintf(watchdog_path, sizeof(watchdog_path), "/sys/fs/fuse/connections/%u/abort",
               test->connection);
    alarm(WATCHDOG_SECONDS);
    g_assert_true(fs_session_start(test->session, &error));
    g_assert_no_error(error);
    test_mount_until(test->ready || test->ended);
    g_assert_true(test->ready);
    if (test_mount_over_uring()) {
        test_fuse_uring_release(&held);
        g_assert_cmpint(fs_session_get_transport(test->session, &reason), ==, FS_TRANSPORT_URING);
        g_assert_null(reason);
    }
}

void test_mount_free(TestMount *test)
{
    fs_session_free(test->session);
    alarm(0);
    g_assert_cmpint(rmdir(test->dir), ==, 0); /* EBUSY: still mounted */
    g_free(test->dir);
}

gboolean test_mount_tick(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

void test_mount_down(TestMount *test)
{
    fs_session_stop(test->session);
    test_mount_until(test->ended);
    test_mount_free(test);
}

char *test_mount_path(const TestMount *test, const char *name)
{
    return g_build_filename(test->dir, name, NULL);
}

void test_mount_abort(const TestMount *test)
{
    g_autofree char *path = g_strdup_printf("/sys/fs/fuse/connections/%u/abort", test->connection);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, "1", 1), ==, 1);
    close(fd);
}

static void client_ended(GPid pid, int status, gpointer opaque)
{
    TestProcess *process = opaque;
    process->done = true;
    process->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    g_spawn_close_pid(pid);
}

TestProcess *test_client_start(const char *name, const char *first, ...)
{
    const char *argv[9] = {"/proc/self/exe", "--client", name};
    TestProcess *process = g_new0(TestProcess, 1);
    GError *error = NULL;
    size_t count = 3;
    va_list rest;

    va_start(rest, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(rest, const char *)) {
        g_assert_cmpuint(count, <, G_N_ELEMENTS(argv) - 1);
        argv[count++] = arg;
    }
    va_end(rest);
    g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                             &process->pid, &process->input, &process->output, NULL, &error);
    g_assert_no_error(error);
    g_child_watch_add(process->pid, client_ended, process);
    return process;
}

void test_client_wait_started(TestProcess *process)
{
    char line[2];
    ssize_t got;

    g_assert_cmpint(fcntl(process->output, F_SETFL, O_NONBLOCK), ==, 0);
    test_mount_poll_until((got = read(process->output, line, sizeof(line))) >= 0 ||
                          errno != EAGAIN);
    g_assert_cmpint(got, ==, 1);
}

void test_client_release(TestProcess *process)
{
    if (process->input >= 0) {
        close(process->input);
        process->input = -1;
    }
}

int test_client_join(TestProcess *process)
{
    test_client_release(process);
    test_mount_until(process->done);
    int status = process->status;
    close(process->output);
    g_free(process);
    return status;
}

void test_client_started(void)
{
    g_assert_cmpint(write(STDOUT_FILENO, "\n", 1), ==, 1);
}

void test_client_wait_released(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}
