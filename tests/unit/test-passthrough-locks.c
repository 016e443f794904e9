/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks and leases on files of the passthrough file system, on real mounts. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "passthrough-util.h"

/* --- locks --- */

static int lock_range(int fd, short type, off_t start, off_t length, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, wait ? F_SETLKW : F_SETLK, &lock);
}

static void ignore_alarm(int signal_number)
{
}

/* Locks of this mount's users among each other: also true for locks=local. */
static int client_locks(char **args)
{
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && lock_range(fd, F_WRLCK, 0, 100, false) == 0);
    CHECK(lock_range(fd, F_RDLCK, 50, 10, false) == 0); /* one's own never conflict */
    pid_t child = fork();
    if (child == 0) {
        int other = on_mount("file", O_RDWR);
        CHECK_ERROR(lock_range(other, F_WRLCK, 50, 1, false), EAGAIN);
        CHECK(lock_range(other, F_RDLCK, 50, 1, false) == 0);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
        CHECK(fcntl(other, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK);
        CHECK(lock.l_pid == getppid() && lock.l_start == 0);
        CHECK(lock_range(other, F_WRLCK, 100, 50, false) == 0);
        /* interrupted while it waits, by the first signal that comes when it does */
        struct sigaction action = {.sa_handler = ignore_alarm};
        sigaction(SIGALRM, &action, NULL);
        const struct timeval later = {.tv_usec = 150000};
        const struct itimerval again = {.it_value = later, .it_interval = later};
        setitimer(ITIMER_REAL, &again, NULL);
        CHECK_ERROR(lock_range(other, F_WRLCK, 0, 1, true), EINTR);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(lock_range(fd, F_WRLCK, 100, 50, false) == 0); /* the child's went with it */

    /* closing any descriptor of the file drops the process's locks */
    int second = on_mount("file", O_RDWR);
    CHECK(close(second) == 0);
    child = fork();
    if (child == 0) {
        int other = on_mount("file", O_RDWR);
        CHECK(lock_range(other, F_WRLCK, 0, 100, false) == 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    /* flock: belongs to the open file */
    CHECK(flock(fd, LOCK_EX) == 0);
    second = on_mount("file", O_RDWR);
    CHECK_ERROR(flock(second, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_ERROR(flock(second, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(fd, LOCK_SH) == 0 && flock(second, LOCK_SH | LOCK_NB) == 0);
    CHECK(close(fd) == 0 && flock(second, LOCK_EX) == 0 && close(second) == 0);
    return 0;
}

/*
 * More processes wait for one lock than there are threads of any kind; the
 * holder must still be able to do everything, and then each gets its turn.
 */
static int client_lock_crowd(char **args)
{
    enum { CROWD = 40 };
    pid_t waiters[CROWD];
    char line[16] = "";
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0 && lock_range(fd, F_WRLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < CROWD; i++) {
        waiters[i] = fork();
        if (waiters[i] == 0) {
            int own = on_mount("file", O_RDWR);
            CHECK(own >= 0);
            CHECK(i % 2 ? flock(own, LOCK_EX) == 0 : lock_range(own, F_WRLCK, 0, 0, true) == 0);
            int counter = on_mount(i % 2 ? "flocked" : "posix", O_RDWR);
            char number[16] = "";
            CHECK(pread(counter, number, sizeof(number) - 1, 0) >= 0);
            snprintf(number, sizeof(number), "%d", atoi(number) + 1);
            CHECK(pwrite(counter, number, strlen(number), 0) == (ssize_t)strlen(number));
            CHECK(fsync(counter) == 0 && close(counter) == 0);
            _exit(0); /* closes, which unlocks */
        }
    }
    g_usleep(300 * 1000);
    int flocked = on_mount("flocked", O_CREAT | O_RDWR),
        posix = on_mount("posix", O_CREAT | O_RDWR);
    CHECK(flocked >= 0 && posix >= 0 && mkdir("meanwhile", 0755) == 0);
    CHECK(copy_file_range(flocked, NULL, posix, NULL, 100000, 0) == 0);
    CHECK(flock(fd, LOCK_UN) == 0 && lock_range(fd, F_UNLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < CROWD; i++) {
        int status;
        CHECK(waitpid(waiters[i], &status, 0) == waiters[i] && status == 0);
    }
    CHECK(pread(flocked, line, 15, 0) > 0 && atoi(line) == CROWD / 2);
    CHECK(pread(posix, line, 15, 0) > 0 && atoi(line) == CROWD / 2);
    return 0;
}

typedef struct Crowd {
    int fd;
    _Atomic unsigned failed;
} Crowd;

static void *wait_for_flock(void *opaque)
{
    Crowd *crowd = opaque;
    int own = on_mount("file", O_RDWR);
    if (own < 0 || flock(own, LOCK_SH) < 0 || close(own) < 0) {
        atomic_fetch_add(&crowd->failed, 1);
    }
    return NULL;
}

/* More wait for a lock than a worker may hold requests; the unlock is still read. */
static int client_lock_many(char **args)
{
    enum { MANY = 100 };
    static pthread_t threads[MANY];
    Crowd crowd = {.fd = on_mount("file", O_CREAT | O_RDWR)};
    pthread_attr_t attributes;
    CHECK(crowd.fd >= 0 && flock(crowd.fd, LOCK_EX) == 0);
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, 256 * 1024) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(pthread_create(&threads[i], &attributes, wait_for_flock, &crowd) == 0);
    }
    test_client_started();
    test_client_wait_released();
    CHECK(flock(crowd.fd, LOCK_UN) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(crowd.failed == 0);
    return 0;
}

/* locks=remote: the other users of the source take part. */
static int client_lock_source(char **args)
{
    int ours = on_mount("file", O_CREAT | O_RDWR), theirs = on_source("file", O_RDWR);
    CHECK(ours >= 0 && theirs >= 0);
    CHECK(flock(theirs, LOCK_EX) == 0);
    CHECK_ERROR(flock(ours, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(theirs, LOCK_UN) == 0 && flock(ours, LOCK_EX | LOCK_NB) == 0);
    CHECK_ERROR(flock(theirs, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(ours, LOCK_UN) == 0);

    CHECK(lock_range(ours, F_WRLCK, 10, 10, false) == 0);
    CHECK_ERROR(lock_range(theirs, F_RDLCK, 15, 1, false), EAGAIN);
    CHECK(lock_range(theirs, F_RDLCK, 20, 1, false) == 0);
    CHECK_ERROR(lock_range(ours, F_WRLCK, 20, 1, false), EAGAIN);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 5};
    CHECK(fcntl(ours, F_GETLK, &lock) == 0 && lock.l_type == F_RDLCK && lock.l_start == 20);
    CHECK(lock.l_len == 1 && lock.l_pid == getpid());

    /* somebody outside lets go while we wait */
    int locked[2], status;
    char byte;
    CHECK(close(theirs) == 0 && pipe(locked) == 0);
    pid_t child = fork();
    if (child == 0) {
        int other = on_source("file", O_RDWR);
        CHECK(flock(other, LOCK_EX) == 0 && write(locked[1], "l", 1) == 1);
        g_usleep(400 * 1000);
        _exit(0);
    }
    close(locked[1]);
    CHECK(read(locked[0], &byte, 1) == 1 && flock(ours, LOCK_EX) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}

static int lock_open_file(int fd, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

/* locks=remote: a lock of an open file goes with its last descriptor. */
static int client_lock_open_file(char **args)
{
    int first = on_mount("file", O_CREAT | O_RDWR), second = on_mount("file", O_RDWR);
    int copy = dup(first);
    CHECK(first >= 0 && second >= 0 && copy >= 0);
    CHECK(lock_open_file(first, F_WRLCK, 0, 10) == 0);
    CHECK_ERROR(lock_open_file(second, F_WRLCK, 0, 10), EAGAIN);
    CHECK(close(first) == 0);
    CHECK_ERROR(lock_open_file(second, F_WRLCK, 0, 10), EAGAIN);
    CHECK(close(copy) == 0);
    /* RELEASE comes some time after close */
    for (unsigned i = 0; lock_open_file(second, F_WRLCK, 0, 10) < 0; i++) {
        CHECK(errno == EAGAIN && i < 1000);
        g_usleep(10 * 1000);
    }
    return close(second);
}

/* Waits for locks that are never released, until the connection goes. */
static int client_lock_forever(char **args)
{
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0 && lock_range(fd, F_WRLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < 6; i++) {
        if (fork() == 0) {
            int own = on_mount("file", O_RDWR);
            _exit((i % 2 ? flock(own, LOCK_EX) : lock_range(own, F_WRLCK, 0, 0, true)) == 0);
        }
    }
    g_usleep(200 * 1000);
    test_client_started();
    for (unsigned i = 0; i < 6; i++) {
        int status;
        CHECK(wait(&status) > 0 && status == 0);
    }
    return 0;
}

/* --- what a worker must not do itself --- */

static int lease_pipe[2];

/* The kernel wants the lease back: say so, and take some time over it. */
static void lease_broken(int signal_number)
{
    ssize_t ignored = write(lease_pipe[1], "b", 1);
    (void)ignored;
}

/*
 * Another process holds a lease on a file of the source. Opening or truncating it
 * waits for that process, and nobody else does: the holder itself uses the mount
 * before it lets go.
 */
static int lease_holder(int ready)
{
    struct sigaction action = {.sa_handler = lease_broken};
    struct stat st;
    char byte;
    CHECK(sigaction(SIGIO, &action, NULL) == 0 && pipe(lease_pipe) == 0);
    for (unsigned i = 0; i < 2; i++) {
        int fd = on_source("file", O_RDONLY);
        CHECK(fd >= 0);
        /* not while a writer has it open, and RELEASE comes some time after close */
        for (unsigned j = 0; fcntl(fd, F_SETLEASE, F_RDLCK) < 0; j++) {
            CHECK(errno == EAGAIN && j < 1000);
            g_usleep(5000);
        }
        CHECK(write(ready, "r", 1) == 1);
        while (read(lease_pipe[0], &byte, 1) != 1) {
        }
        CHECK(stat("other", &st) == 0 && rename("other", "renamed") == 0);
        CHECK(rename("renamed", "other") == 0 && close(fd) == 0);
    }
    return 0;
}

static int client_lease(char **args)
{
    int ready[2], status;
    char byte;
    CHECK(pipe(ready) == 0 && close(on_mount("file", O_CREAT | O_RDWR)) == 0);
    CHECK(close(on_mount("other", O_CREAT | O_RDWR)) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        _exit(lease_holder(ready[1]));
    }
    close(ready[1]);
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK_ERROR(on_mount("file", O_RDWR | O_NONBLOCK), EWOULDBLOCK);
    int fd = on_mount("file", O_RDWR);
    CHECK(fd >= 0 && write(fd, "12345", 5) == 5 && close(fd) == 0);
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(truncate("file", 3) == 0);
    CHECK(waitpid(holder, &status, 0) == holder && status == 0);
    CHECK(source_is("file", "123", 3));
    return 0;
}

/* --- the tests --- */

TEST_CLIENT(locks)
TEST_CLIENT(lock_crowd)
TEST_CLIENT(lease)
TEST_CLIENT(lock_forever)
TEST_CLIENT(lock_source)
TEST_CLIENT(lock_many)
TEST_CLIENT(lock_open_file)

static const TestClient clients[] = {
    {"locks", enter_locks},
    {"lock_crowd", enter_lock_crowd},
    {"lease", enter_lease},
    {"lock_forever", enter_lock_forever},
    {"lock_source", enter_lock_source},
    {"lock_many", enter_lock_many},
    {"lock_open_file", enter_lock_open_file},
    {NULL, NULL},
};

static void test_abort_with_waiters(void)
{
    Served served = {0};
    test_serve(&served, &test_modes[MODE_NONE]);
    g_autofree char *below = g_build_filename(served.source, "locks", NULL);
    g_assert_cmpint(mkdir(below, 0755), ==, 0);
    g_autofree char *path = test_mount_path(&served.mount, "locks");
    TestProcess *process = test_client_start("lock_forever", path, below, NULL);
    test_client_wait_started(process);
    test_mount_abort(&served.mount);
    g_assert_cmpint(test_client_join(process), ==, 0);
    test_mount_until(served.mount.ended);
    FsSessionStats stats;
    fs_session_get_stats(served.mount.session, &stats);
    g_assert_cmpuint(stats.in_flight, ==, 0);
    test_mount_free(&served.mount);
    fs_passthrough_free(served.pt);
    test_remove_tree(served.source);
    g_free(served.source);
}

static void test_many_waiters(void)
{
    Served served = {.max_requests = 32};
    Mode mode = test_modes[MODE_NONE];
    mode.threads = 1;
    mode.locks = FS_PASSTHROUGH_LOCKS_REMOTE;
    test_serve(&served, &mode);
    TestProcess *process = test_client_start("lock_many", served.mount.dir, served.source, NULL);
    test_client_wait_started(process);
    FsPassthroughStats stats;
    do {
        g_main_context_iteration(NULL, FALSE);
        g_usleep(1000);
        fs_passthrough_get_stats(served.pt, &stats);
    } while (stats.lock_waits < 100);
    test_client_release(process);
    g_assert_cmpint(test_client_join(process), ==, 0);
    test_serve_end(&served);
}

int main(int argc, char **argv)
{
    static const char *const everywhere[] = {"locks", "lock_crowd", "lease", NULL};
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/passthrough/abort-with-lock-waiters", test_abort_with_waiters);
    test_add_everywhere(everywhere);
    test_add_remote("lock_source");
    test_add_remote("lock_open_file");
    g_test_add_func("/passthrough/many-lock-waiters", test_many_waiters);
    return g_test_run();
}
