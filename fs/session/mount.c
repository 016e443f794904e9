/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounts as the kernel lists them, and their end. */
#include "fs/session/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/** Undo mountinfo's escapes of blanks and backslashes (\040), in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0';) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

typedef bool MountVisitor(dev_t device, const char *mountpoint, void *opaque);

/** Call @visit for each mount, lower ones first, until it returns false. */
static void for_each_mount(const char *mountinfo, MountVisitor *visit, void *opaque)
{
    FILE *file = fopen(mountinfo ? mountinfo : "/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t size = 0;
    bool go_on = file != NULL;

    while (go_on && getline(&line, &size, file) >= 0) {
        /* id, parent, major:minor, root, mountpoint, ... */
        unsigned major_number, minor_number;
        int begin = 0, end = 0;
        if (sscanf(line, "%*u %*u %u:%u %*s %n%*s%n", &major_number, &minor_number, &begin, &end) ==
                2 &&
            end > begin) {
            line[end] = '\0';
            unescape(line + begin);
            go_on = visit(makedev(major_number, minor_number), line + begin, opaque);
        }
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
}

typedef struct DeviceQuery {
    const char *mountpoint;
    dev_t device;
} DeviceQuery;

static bool visit_for_device(dev_t device, const char *mountpoint, void *opaque)
{
    DeviceQuery *query = opaque;
    if (strcmp(mountpoint, query->mountpoint) == 0) {
        query->device = device;
    }
    return true;
}

dev_t fs_mount_device(const char *mountinfo, const char *mountpoint)
{
    DeviceQuery query = {.mountpoint = mountpoint};
    for_each_mount(mountinfo, visit_for_device, &query);
    return query.device;
}

typedef struct PathQuery {
    dev_t device;
    char *mountpoint;
} PathQuery;

static bool visit_for_path(dev_t device, const char *mountpoint, void *opaque)
{
    PathQuery *query = opaque;
    if (device != query->device) {
        return true;
    }
    query->mountpoint = g_strdup(mountpoint);
    return false;
}

char *fs_mount_find(const char *mountinfo, dev_t device)
{
    PathQuery query = {.device = device};
    for_each_mount(mountinfo, visit_for_path, &query);
    return query.mountpoint;
}

dev_t fs_mount_device_of_fd(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    g_autofree char *text = NULL;
    unsigned minor_number;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        const char *found = strstr(text, "fuse_connection:");
        if (found != NULL && sscanf(found, "fuse_connection: %u", &minor_number) == 1) {
            return makedev(0, minor_number);
        }
    }
    return 0;
}

/* Of what fusectl shows of a connection. Free with g_free(). */
static char *connection_file(dev_t device, const char *name)
{
    return g_strdup_printf("/sys/fs/fuse/connections/%u/%s", minor(device), name);
}

unsigned fs_mount_max_background(dev_t device)
{
    g_autofree char *path = connection_file(device, "max_background");
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? (unsigned)strtoul(text, NULL, 10) : 0;
}

int fs_mount_set_nosymfollow(const char *mountpoint)
{
    /* Only this flag: the others of the mount need not be known. Linux 5.12. */
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSYMFOLLOW};

    return mount_setattr(AT_FDCWD, mountpoint, AT_SYMLINK_NOFOLLOW, &attributes,
                         sizeof(attributes)) < 0
               ? -errno
               : 0;
}

int fs_mount_detach(const char *mountpoint, dev_t device)
{
    if (fs_mount_device(NULL, mountpoint) != device) {
        return -ENOENT;
    }
    if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
        return 0;
    }
    int result = -errno;
    if (result != -EPERM) {
        /* somebody else may have been faster */
        return fs_mount_device(NULL, mountpoint) == device ? result : -ENOENT;
    }

    char *argv[] = {(char *)"fusermount3", (char *)"-u",       (char *)"-q", (char *)"-z",
                    (char *)"--",          (char *)mountpoint, NULL};
    int status;
    if (!g_spawn_sync(NULL, argv, NULL,
                      G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, NULL, NULL, &status, NULL) ||
        status != 0) {
        return result;
    }
    return 0;
}

bool fs_mount_is_gone(int device_fd)
{
    struct pollfd pollfd = {.fd = device_fd};
    return poll(&pollfd, 1, 0) == 1 && pollfd.revents & POLLERR;
}

int fs_mount_abort(const char *mountpoint, dev_t device, int device_fd)
{
    g_autofree char *path = connection_file(device, "abort");
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    /* after open(): if it lives now, the number was its own then, and not yet another's */
    if (fs_mount_is_gone(device_fd)) {
        if (fd >= 0) {
            close(fd);
        }
        return -ENOTCONN;
    }
    if (fd >= 0) {
        ssize_t written = write(fd, "1", 1);
        close(fd);
        if (written == 1) {
            return 0;
        }
    }

    /* fusectl is not mounted: a forced unmount aborts first, then detaches */
    if (mountpoint == NULL || fs_mount_device(NULL, mountpoint) != device) {
        return -ENOENT;
    }
    return umount2(mountpoint, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
}
