/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Real mounts in unit tests.
 *
 * The test program makes a private mount namespace, so nothing it mounts is
 * seen outside or outlives it. Whoever does I/O on a mount is a child process
 * (the same program, called with --client), because a process must not wait
 * for its own mount. A watchdog cuts the connection of a mount that hangs.
 *
 * With SLUICE_TEST_TRANSPORT=uring in the environment sessions ask for FUSE over
 * io_uring; without a kernel that can be told to offer it, the program is skipped.
 */
#ifndef SLUICE_TESTS_UNIT_MOUNT_UTIL_H
#define SLUICE_TESTS_UNIT_MOUNT_UTIL_H

#include <stdbool.h>

#include "fs/session/session.h"

/** What a child process does: arguments after --client NAME. Returns its exit status. */
typedef int TestClientFn(char **args);

typedef struct TestClient {
    const char *name;
    TestClientFn *run;
} TestClient;

/**
 * Call first in main() instead of test_init(). Runs a client and exits where
 * the program was called as one. Prints a TAP skip and exits without root or
 * /dev/fuse. @clients: ends with a NULL name.
 */
void test_mount_init(int *argc, char ***argv, const TestClient *clients);

typedef struct TestMount {
    char *dir; /* the mountpoint, a fresh directory */
    FsSession *session;
    unsigned connection; /* number below /sys/fs/fuse/connections */
    bool ready, ended;
    int error; /* as told to ended */
} TestMount;

/** Whether this run is about FUSE over io_uring. */
bool test_mount_over_uring(void);

/** The parameter enable_uring of the module fuse while a test needs it. */
typedef struct TestFuseUring {
    int lock;
    char before;
} TestFuseUring;

/**
 * Have the kernel offer FUSE over io_uring to new mounts, or not, and keep
 * others from changing that. False: it cannot be set.
 */
bool test_fuse_uring_hold(TestFuseUring *held, bool on);
void test_fuse_uring_release(TestFuseUring *held);

/** Parameters for a session with the monitor of this run; mountpoint set later. */
void test_mount_params(FsSessionParams *params, const FsFilesystem *filesystem, void *userdata);

/** Make the directory, mount and start; returns once it serves. */
void test_mount_up(TestMount *test, const FsSessionParams *params);

/** As test_mount_up() up to and with fs_session_new() only. */
void test_mount_new(TestMount *test, const FsSessionParams *given);

/** The same on the empty directory @dir, which test_mount_free() removes. */
void test_mount_new_at(TestMount *mount, const FsSessionParams *params, const char *dir);

/** The rest of test_mount_up(). */
void test_mount_start(TestMount *mount);

/** Turn the main loop until @condition holds. */
#define test_mount_until(condition)                                                                \
    do {                                                                                           \
        while (!(condition)) {                                                                     \
            g_main_context_iteration(NULL, TRUE);                                                  \
        }                                                                                          \
    } while (0)

/** The same where nothing announces it. */
#define test_mount_poll_until(condition)                                                           \
    do {                                                                                           \
        guint timer_ = g_timeout_add(2, test_mount_tick, NULL);                                    \
        test_mount_until(condition);                                                               \
        g_source_remove(timer_);                                                                   \
    } while (0)
gboolean test_mount_tick(gpointer opaque); /**< a GSourceFunc for ever */

/** Stop if need be, wait until it has ended, free the session, remove the directory. */
void test_mount_down(TestMount *test);

/** Free the session without waiting for its end, remove the directory. */
void test_mount_free(TestMount *test);

/** Path of @name on the mount. Free with g_free(). */
char *test_mount_path(const TestMount *test, const char *name);

/** Write 1 to the connection's abort file. */
void test_mount_abort(const TestMount *test);

/** A client process; its standard input is a pipe that ends with test_client_release(). */
typedef struct TestProcess {
    GPid pid;
    int input; /* -1 once released */
    int output;
    bool done;
    int status; /* exit status; 128 + n: ended by signal n */
} TestProcess;

/** Start a client with up to four arguments (NULL ends them). */
TestProcess *test_client_start(const char *name, const char *first, ...) G_GNUC_NULL_TERMINATED;

/** Turn the main loop until the client has written a line. */
void test_client_wait_started(TestProcess *process);

/** Close its standard input, for a client that waits for that. */
void test_client_release(TestProcess *process);

/** Turn the main loop until it has ended; returns its status and frees it. */
int test_client_join(TestProcess *process);

/** Start and join. */
#define test_client_run(...) test_client_join(test_client_start(__VA_ARGS__, NULL))

/** In a client: say that it has started. */
void test_client_started(void);

/** In a client: wait for test_client_release(). */
void test_client_wait_released(void);

#endif /* SLUICE_TESTS_UNIT_MOUNT_UTIL_H */
