/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What every unit test with a context shares: the run mode and small helpers.
 *
 * The same programs run in several modes, chosen by the environment:
 *
 *     SLUICE_TEST_MONITOR=uring|epoll|poll   the monitor that test contexts use
 *     SLUICE_TEST_DENY_URING=1               io_uring_setup() fails with EPERM
 *
 * Without either, a context takes the best monitor that the machine has.
 */
#ifndef SLUICE_TESTS_UNIT_UTIL_H
#define SLUICE_TESTS_UNIT_UTIL_H

#include <stdbool.h>
#include <stddef.h>

#include "aio/context.h"

/**
 * Call first in main(), before any thread exists; includes g_test_init().
 *
 * Installs the seccomp filter of the denied mode. Where the mode asks for
 * io_uring and the machine has none, the program ends as skipped.
 */
void test_init(int *argc, char ***argv);

/** The monitor that SLUICE_TEST_MONITOR names, else AIO_MONITOR_AUTO. */
AioMonitorKind test_monitor_kind(void);

/** Whether this run forbids io_uring. */
bool test_uring_denied(void);

/** Default parameters with the monitor of this run. */
void test_context_params(AioContextParams *params);

/** A context of the calling thread with the monitor of this run; never NULL. */
AioContext *test_context_new(void);

/** Turn @ctx until @condition holds; the test runner's time limit ends a hang. */
#define test_poll_until(ctx, condition)                                                            \
    do {                                                                                           \
        while (!(condition)) {                                                                     \
            aio_context_poll((ctx), true);                                                         \
        }                                                                                          \
    } while (0)

/**
 * Open an unlinked file of @size zero bytes. @open_flags is added to O_RDWR.
 * Returns -1 with errno if the file system refuses @open_flags.
 */
int test_temp_file(size_t size, int open_flags);

/** Fill @buf with bytes that depend on @seed and on their position. */
void test_fill(void *buf, size_t size, unsigned seed);

#endif /* SLUICE_TESTS_UNIT_UTIL_H */
