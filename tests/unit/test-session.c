/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions on real mounts (fs/session, fs/transport, fs/null). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/null/null.h"
#include "mount-util.h"

/* --- clients ---------------------------------------------------------------- */

/* FILE: read it in many sizes at many offsets; everything must be zero. */
static int client_read(char **args)
{
    static const size_t sizes[] = {1, 511, 4096, 5000, 65536, 131072, 1048576};
    static char buf[1048576];
    int fd = open(args[0], O_RDONLY);

    if (fd < 0) {
        return 1;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const off_t offsets[] = {0, 4095, FS_NULL_FILE_SIZE / 2, FS_NULL_FILE_SIZE - 1000000};
        for (size_t j = 0; j < G_N_ELEMENTS(offsets); j++) {
            ssize_t want = MIN((ssize_t)sizes[i], FS_NULL_FILE_SIZE - offsets[j]);
            memset(buf, 1, sizeof(buf));
            if (pread(fd, buf, sizes[i], offsets[j]) != want) {
                return 2;
            }
            for (ssize_t k = 0; k < want; k++) {
                if (buf[k] != 0) {
                    return 3;
                }
            }
        }
    }
    return pread(fd, buf, 1, FS_NULL_FILE_SIZE) == 0 ? 0 : 4;
}

static const TestClient clients[] = {
    {"read", client_read},
    {NULL, NULL},
};

/* --- tests -------------------------------------------------------------------- */

static void up(TestMount *mount, unsigned threads)
{
    FsSessionParams params;
    static FsNull *null;

    if (null == NULL) {
        null = fs_null_new();
    }
    test_mount_params(&params, fs_null_filesystem(), null);
    params.threads = threads;
    test_mount_up(mount, &params);
}

static void test_reads(gconstpointer threads)
{
    static const char *const names[] = {"null", "direct", "async", "helper"};
    TestMount mount;

    up(&mount, GPOINTER_TO_UINT(threads));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = test_mount_path(&mount, names[i]);
        g_assert_cmpint(test_client_run("read", path), ==, 0);
    }
    test_mount_down(&mount);
    g_assert_cmpint(mount.error, ==, 0);
}

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, clients);
    g_test_add_data_func("/session/reads/1", GUINT_TO_POINTER(1), test_reads);
    g_test_add_data_func("/session/reads/4", GUINT_TO_POINTER(4), test_reads);
    return g_test_run();
}
