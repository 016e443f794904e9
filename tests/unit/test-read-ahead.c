/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading ahead on a mount (fs/session/read-ahead.c). */
#include "fs/session/read-ahead.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "fs/session/session.h"
#include "passthrough-util.h"

static void test_choose(void)
{
    g_assert_cmpuint(fs_read_ahead_choose(8192, 128), ==, FS_READ_AHEAD_MAX_KIB);
    g_assert_cmpuint(fs_read_ahead_choose(512, 128), ==, 512);
    g_assert_cmpuint(fs_read_ahead_choose(128, 128), ==, 0);
    g_assert_cmpuint(fs_read_ahead_choose(64, 128), ==, 0);
    g_assert_cmpuint(fs_read_ahead_choose(0, 128), ==, 0); /* unknown */
    g_assert_cmpuint(fs_read_ahead_choose(8192, 0), ==, 0);
}

static void test_unknown_device(void)
{
    const dev_t device = makedev(0, 0xfffff);
    g_assert_cmpuint(fs_read_ahead_get(device), ==, 0);
    g_assert_cmpint(fs_read_ahead_set(device, 256), ==, -ENOENT);
}

static void test_mount(void)
{
    Served served = {0};
    test_serve(&served, &test_modes[MODE_AUTO]);
    dev_t device = fs_session_device(served.mount.session);
    int error = fs_read_ahead_set(device, 256);
    if (error) {
        g_test_skip("the setting of a mount cannot be changed here");
    } else {
        g_assert_cmpuint(fs_read_ahead_get(device), ==, 256);
    }
    fs_passthrough_read_ahead_as_source(served.pt);
    test_serve_end(&served);
}

static const TestClient clients[] = {{NULL, NULL}};

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/read-ahead/choose", test_choose);
    g_test_add_func("/read-ahead/unknown-device", test_unknown_device);
    g_test_add_func("/read-ahead/mount", test_mount);
    return g_test_run();
}
