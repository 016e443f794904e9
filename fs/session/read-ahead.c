/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How far the kernel reads ahead in files of the mount.
 *
 * How it works: a FUSE mount begins with 128 KiB, and INIT can only lessen that. A client
 * that reads a cold file in order then waits for many small READs, two at a time, however far
 * the source would read ahead by itself. So the mount gets what the source has, up to the
 * size of one READ. Both are in /sys/class/bdi/MAJOR:MINOR, which mounts and whole disks have; what
 * a partition has is its disk's. Others (Btrfs) are left alone.
 */
#include "fs/session/read-ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TEXT_MAX 32

/* @before and @behind: of MAJOR:MINOR in the path. */
static int open_setting(const char *before, dev_t device, const char *behind, int flags)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%u:%u/%s", before, major(device), minor(device), behind);
    int fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_of_mount(dev_t device, int flags)
{
    return open_setting("/sys/class/bdi", device, "read_ahead_kb", flags);
}

unsigned fs_read_ahead_get(dev_t device)
{
    char text[TEXT_MAX] = "";
    int fd = open_of_mount(device, O_RDONLY);
    if (fd < 0) {
        fd = open_setting("/sys/dev/block", device, "../queue/read_ahead_kb", O_RDONLY);
    }
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    return length > 0 ? (unsigned)strtoul(text, NULL, 10) : 0;
}

int fs_read_ahead_set(dev_t device, unsigned kib)
{
    char text[TEXT_MAX];
    int length = snprintf(text, sizeof(text), "%u", kib);
    int fd = open_of_mount(device, O_WRONLY);
    if (fd < 0) {
        return fd;
    }
    int error = write(fd, text, (size_t)length) == length ? 0 : -errno;
    close(fd);
    return error;
}

unsigned fs_read_ahead_choose(unsigned source, unsigned mount)
{
    unsigned wanted = source < FS_READ_AHEAD_MAX_KIB ? source : FS_READ_AHEAD_MAX_KIB;
    return mount > 0 && wanted > mount ? wanted : 0;
}

void fs_read_ahead_as_source(const FsSession *session, unsigned source)
{
    dev_t mount = fs_session_device(session);
    unsigned kib = fs_read_ahead_choose(source, fs_read_ahead_get(mount));
    int error = kib ? fs_read_ahead_set(mount, kib) : 0;
    if (error) {
        g_debug("the mount cannot read ahead as the source does: %s", g_strerror(-error));
    }
}
