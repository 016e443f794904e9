/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * For tests of sessions: mounts of fs/null and of the probe, and clients at work on them.
 * Items D of docs/design/aio-behaviours.md are named in the tests' paths.
 */
#ifndef SLUICE_TESTS_UNIT_SESSION_UTIL_H
#define SLUICE_TESTS_UNIT_SESSION_UTIL_H

#include "mount-util.h"
#include "probe-fs.h"

/** Call first in main() instead of test_mount_init(): the clients are session_clients[]. */
void session_test_init(int *argc, char ***argv);

/** Run the tests; returns the status of the program. */
int session_test_run(void);

/** The data of a test of sessions with @n workers. */
#define THREADS(n) GUINT_TO_POINTER(n)

/** The names of the files of fs/null. */
enum { NULL_FILES = 4 };
extern const char *const null_files[NULL_FILES];

/** Parameters for a session of fs/null with so many workers. */
void null_params(FsSessionParams *params, unsigned threads);

/** Mount fs/null, or @probe, which this initializes, and serve: test_mount_up(). */
void null_up(TestMount *mount, unsigned threads);
void probe_up(TestMount *mount, Probe *probe, unsigned threads);

/** Start a client of session_clients[] with a file of the mount ("": its root); and join it. */
TestProcess *start_on(const TestMount *mount, const char *client, const char *file);
int run_on(const TestMount *mount, const char *client, const char *file);

#endif /* SLUICE_TESTS_UNIT_SESSION_UTIL_H */
