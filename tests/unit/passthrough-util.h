/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Tests of the passthrough file system on real mounts.
 *
 * A client works in a directory of its own on the mount and compares with the
 * same directory of the source. test_add_everywhere() runs it on every mount
 * of test_modes[], so whatever it checks must hold with each way of caching.
 */
#ifndef SLUICE_TESTS_UNIT_PASSTHROUGH_UTIL_H
#define SLUICE_TESTS_UNIT_PASSTHROUGH_UTIL_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/passthrough/passthrough.h"
#include "mount-util.h"

/* In a client: give up, naming the place. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "# line %d: %s (errno %d, %s)\n", __LINE__, #condition, errno,         \
                    strerror(errno));                                                              \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The call fails with exactly this error. */
#define CHECK_ERROR(call, wanted)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long result_ = (long)(call);                                                               \
        CHECK(result_ < 0 && errno == (wanted));                                                   \
    } while (0)

/* --- for clients --- */

extern const char *mount_dir;  /**< the client's directory on the mount */
extern const char *source_dir; /**< the same directory of the source */

/** open(2) of a file in either directory; created with mode 0644. */
int on_mount(const char *name, int flags);
int on_source(const char *name, int flags);

/** Whether a file of the source holds exactly these bytes. */
bool source_is(const char *name, const void *data, size_t length);

/** Bytes that differ from place to place and from seed to seed. */
void fill(unsigned char *buffer, size_t length, unsigned seed);

/** Define enter_NAME(), the TestClientFn of client_NAME(): goes to its directory first. */
#define TEST_CLIENT(name)                                                                          \
    static int enter_##name(char **args)                                                           \
    {                                                                                              \
        mount_dir = args[0];                                                                       \
        source_dir = args[1];                                                                      \
        CHECK(chdir(mount_dir) == 0);                                                              \
        return client_##name(args);                                                                \
    }

/* --- for tests --- */

typedef struct Mode {
    const char *name;
    FsPassthroughCache cache;
    bool writeback;
    FsPassthroughLocks locks;
    unsigned threads;
    FsPassthroughIo passthrough_io;
} Mode;

enum { MODE_AUTO, MODE_NONE, MODE_ALWAYS, MODE_KERNEL, MODE_COUNT };
extern const Mode test_modes[MODE_COUNT];

typedef struct Served {
    char *source;
    FsPassthrough *pt;
    TestMount mount;
    unsigned max_requests; /* that a worker holds; 0: as usual; set by the caller */
} Served;

/** Mount what @params say; served->source is the caller's. */
void test_serve_params(Served *served, const FsPassthroughParams *params, unsigned threads);

/** Mount a fresh directory. */
void test_serve(Served *served, const Mode *mode);

/** Every RELEASE arrives, but close(2) does not wait for it and an unmount drops it. */
void test_wait_for_releases(Served *served);

/** Unmount, free everything and remove the source. */
void test_serve_end(Served *served);

void test_remove_tree(const char *path);

/** Run a client in a fresh directory that bears its name. @option: its third argument. */
int test_run_client(Served *served, const char *name, const char *option);

/**
 * Add a test of each client (NULL ends them) for each mode but MODE_KERNEL, for MODE_KERNEL, or
 * for those with locks=remote. The client's third argument: "kernel-io" in MODE_KERNEL, else
 * NULL with cache=always and "fresh" without.
 */
void test_add_everywhere(const char *const *clients);
void test_add_kernel_io(const char *const *clients);
void test_add_remote(const char *client);

#endif /* SLUICE_TESTS_UNIT_PASSTHROUGH_UTIL_H */
