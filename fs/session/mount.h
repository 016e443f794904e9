/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Mounts as the kernel lists them, and their end.
 *
 * Nothing here opens or stats the mountpoint: a daemon that touches its own
 * mount waits for itself.
 */
#ifndef SLUICE_FS_SESSION_MOUNT_H
#define SLUICE_FS_SESSION_MOUNT_H

#include <stdbool.h>

#include <sys/types.h>

#include <glib.h>

/**
 * st_dev of the topmost mount on @mountpoint (canonical), from @mountinfo
 * (NULL: /proc/self/mountinfo). 0: nothing is mounted there.
 */
dev_t fs_mount_device(const char *mountinfo, const char *mountpoint);

/** Where @device is mounted, or NULL. Free with g_free(). */
char *fs_mount_find(const char *mountinfo, dev_t device);

/** st_dev behind an open /dev/fuse descriptor; 0 where the kernel does not tell. */
dev_t fs_mount_device_of_fd(int fd);

/**
 * Background requests that the kernel may have under way now for @device: what INIT agreed
 * on, unless an administrator has changed it since. 0: not known (fusectl is not mounted).
 */
unsigned fs_mount_max_background(dev_t device);

/** Let no symbolic link be followed in the mount on @mountpoint. 0 or negative errno. */
int fs_mount_set_nosymfollow(const char *mountpoint);

/**
 * Detach @device from @mountpoint if it is the topmost mount there: lazily, so
 * open files keep it alive. As root by umount2(2), else through fusermount3.
 * 0, or negative errno; -ENOENT: not mounted there (any more).
 */
int fs_mount_detach(const char *mountpoint, dev_t device);

/**
 * Cut the connection of @device, that of @device_fd: every request fails, the daemon's reads
 * give ENODEV or ECONNABORTED. Through fusectl, or by a forced unmount.
 * 0 or negative errno; -ENOTCONN: it has ended already.
 */
int fs_mount_abort(const char *mountpoint, dev_t device, int device_fd);

/** Whether the connection of an open /dev/fuse descriptor has ended. */
bool fs_mount_is_gone(int device_fd);

#endif /* SLUICE_FS_SESSION_MOUNT_H */
