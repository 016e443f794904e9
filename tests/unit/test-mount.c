/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel's list of mounts (fs/session/mount.c). */
#include "fs/session/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char mountinfo[] =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "30 22 0:40 / /mnt/a\\040b\\134c rw,nosuid - fuse.sluicefs one rw,user_id=0\n"
    "nonsense\n"
    "31 22 0:41 / /mnt/twice rw - fuse.sluicefs two rw\n"
    "32 31 0:42 / /mnt/twice rw - tmpfs three rw\n"
    "33 22 259:1048575 /sub /mnt/twice2 rw - xfs /dev/x rw\n"
    "34 22 0:43 / /mnt/broken\\04 rw";

static void with_list(void (*test)(const char *path))
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("mountinfo-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, mountinfo, sizeof(mountinfo) - 1), ==, sizeof(mountinfo) - 1);
    close(fd);
    test(path);
    unlink(path);
}

static void check_device(const char *path)
{
    g_assert_cmpuint(fs_mount_device(path, "/mnt/a b\\c"), ==, makedev(0, 40));
    g_assert_cmpuint(fs_mount_device(path, "/mnt/twice"), ==, makedev(0, 42));
    g_assert_cmpuint(fs_mount_device(path, "/mnt/twice2"), ==, makedev(259, 1048575));
    g_assert_cmpuint(fs_mount_device(path, "/mnt/broken\\04"), ==, makedev(0, 43));
    g_assert_cmpuint(fs_mount_device(path, "/mnt"), ==, 0);
    g_assert_cmpuint(fs_mount_device("/does/not/exist", "/"), ==, 0);
}

static void check_find(const char *path)
{
    g_autofree char *first = fs_mount_find(path, makedev(0, 40));
    g_autofree char *covered = fs_mount_find(path, makedev(0, 41));

    g_assert_cmpstr(first, ==, "/mnt/a b\\c");
    g_assert_cmpstr(covered, ==, "/mnt/twice");
    g_assert_null(fs_mount_find(path, makedev(0, 99)));
}

static void test_device(void)
{
    with_list(check_device);
}

static void test_find(void)
{
    with_list(check_find);
}

/* What is not mounted where it should be is left alone. */
static void test_detach_checks_device(void)
{
    g_assert_cmpint(fs_mount_detach("/", makedev(0, 1048575)), ==, -ENOENT);
    g_assert_cmpint(fs_mount_detach("/does/not/exist", makedev(0, 40)), ==, -ENOENT);
}

static void test_device_of_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    g_assert_cmpuint(fs_mount_device_of_fd(fd), ==, 0);
    close(fd);
    g_assert_cmpuint(fs_mount_device_of_fd(-1), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mount/device", test_device);
    g_test_add_func("/mount/find", test_find);
    g_test_add_func("/mount/detach-checks-device", test_detach_checks_device);
    g_test_add_func("/mount/device-of-fd", test_device_of_fd);
    return g_test_run();
}
