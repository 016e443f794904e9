/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The run mode of a unit test and helpers for contexts and files. */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

AioMonitorKind test_monitor_kind(void)
{
    const char *name = getenv("SLUICE_TEST_MONITOR");
    if (!name || !*name) {
        return AIO_MONITOR_AUTO;
    }
    if (strcmp(name, "uring") == 0) {
        return AIO_MONITOR_URING;
    }
    if (strcmp(name, "epoll") == 0) {
        return AIO_MONITOR_EPOLL;
    }
    if (strcmp(name, "poll") == 0) {
        return AIO_MONITOR_POLL;
    }
    g_error("SLUICE_TEST_MONITOR=%s: expected uring, epoll or poll", name);
}

bool test_uring_denied(void)
{
    const char *value = getenv("SLUICE_TEST_DENY_URING");
    return value && strcmp(value, "1") == 0;
}

/* From here on this process and its children cannot create a ring. */
static void deny_uring(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    g_assert_nonnull(filter);
    int ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
    if (ret == 0) {
        ret = seccomp_load(filter);
    }
    if (ret < 0) {
        g_error("cannot install the seccomp filter that denies io_uring: %s", g_strerror(-ret));
    }
    seccomp_release(filter);
}

/* A machine without io_uring cannot run this mode; that is not a failure. */
static void skip_without_uring(void)
{
    struct io_uring ring;
    int ret = io_uring_queue_init(2, &ring, 0);
    if (ret < 0) {
        printf("1..0 # SKIP io_uring is not available: %s\n", g_strerror(-ret));
        exit(0);
    }
    io_uring_queue_exit(&ring);
}

void test_init(int *argc, char ***argv)
{
    if (test_uring_denied()) {
        deny_uring();
    } else if (test_monitor_kind() == AIO_MONITOR_URING) {
        skip_without_uring();
    }
    g_test_init(argc, argv, NULL);
}

void test_context_params(AioContextParams *params)
{
    aio_context_params_init(params);
    params->name = "test";
    params->monitor = test_monitor_kind();
}

AioContext *test_context_new(void)
{
    AioContextParams params;
    test_context_params(&params);

    GError *error = NULL;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    g_assert_nonnull(ctx);
    return ctx;
}

int test_temp_file(size_t size, int open_flags)
{
    char *path = g_build_filename(g_get_tmp_dir(), "sluice-test-XXXXXX", NULL);
    int fd = mkostemp(path, open_flags | O_CLOEXEC);
    int saved_errno = errno;
    if (fd >= 0) {
        unlink(path);
        if (ftruncate(fd, (off_t)size) < 0) {
            g_error("cannot size a file in %s: %s", g_get_tmp_dir(), g_strerror(errno));
        }
    } else {
        unlink(path); /* open() may create the file before it refuses O_DIRECT */
    }
    g_free(path);
    errno = saved_errno;
    return fd;
}

void test_fill(void *buf, size_t size, unsigned seed)
{
    unsigned char *bytes = buf;
    uint32_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(state >> 24);
    }
}
