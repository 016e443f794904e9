/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Opening the directory that is served.
 *
 * How it works: whether reading moves an access time is decided by the mount that a file was
 * opened on, not by its file system. So for strictatime the source is mounted once more,
 * where nobody sees it (open_tree(2), Linux 5.2), and that mount gets the rule (mount_setattr(2),
 * Linux 5.12); both take CAP_SYS_ADMIN. All that is opened below the descriptor lies on it, file
 * handles included: their mount is that of the root.
 *
 * What is mounted below the source belongs to the copy as it was then, also where it may not be
 * entered (xdev=deny): without it, what it covers would be served. Mounts made later do not appear.
 */
#include "fs/passthrough/source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "aio/error.h"

/* @source on a mount of its own whose access times always move; negative errno. */
static int open_with_strict_times(int source)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_STRICTATIME,
        .attr_clr = MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME,
    };
    int fd =
        open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
    if (fd < 0) {
        return -errno;
    }
    if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int fs_source_open(const FsPassthroughParams *params, GError **error)
{
    int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    int fd = params->source ? open(params->source, flags) : openat(params->root_fd, ".", flags);
    if (fd < 0) {
        int saved = errno;
        g_set_error(error, AIO_ERROR, saved, "cannot open the source '%s': %s",
                    params->source ? params->source : "(descriptor)", g_strerror(saved));
        return -1;
    }
    if (!params->strictatime) {
        return fd;
    }
    int strict = open_with_strict_times(fd);
    if (strict < 0) {
        g_message("strictatime: access times follow the rule of the source's mount: %s%s",
                  g_strerror(-strict), strict == -EPERM ? " (it takes CAP_SYS_ADMIN)" : "");
        return fd;
    }
    close(fd);
    return strict;
}
