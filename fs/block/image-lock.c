/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks on images, understood by QEMU.
 *
 * How it works: QEMU describes what it does with an image by shared locks on
 * single bytes: byte 100 + n says "I use permission n", byte 200 + n says "nobody
 * else may use permission n" (QEMU's documentation, "Image locking"). Whoever
 * comes takes its bytes first and then looks whether somebody holds a byte that
 * contradicts: of two that come at once at least one sees the other.
 *
 * Beside that, the bytes below 100 have an ordinary lock, exclusive for a writer, shared
 * for readers, for programs that know only those.
 *
 * All are open-file-description locks (Linux 3.15): they do not vanish when
 * some other descriptor of the file is closed, and end with the process, however
 * that ends. The kernel names no process for them; it is found by the locks in
 * /proc/PID/fdinfo.
 */
#include "fs/block/image-lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/fdinfo.h"

#define USED_BASE     100
#define UNSHARED_BASE 200
#define PERMISSIONS   4 /* consistent read, write, write unchanged, resize */

#define PERMISSION_READ   (1u << 0)
#define PERMISSION_WRITE  (1u << 1)
#define PERMISSION_RESIZE (1u << 3)

#define RETRY_US (100 * 1000)

static bool set_lock(int fd, short type, off_t start, off_t length)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Whether somebody else has a lock on the byte. */
static bool is_taken(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void unlock_all(int fd)
{
    set_lock(fd, F_UNLCK, 0, UNSHARED_BASE + PERMISSIONS);
}

/* 0: locked; EAGAIN: somebody is in the way; other errno: locks do not work here. */
static int try_lock(int fd, bool writer)
{
    const unsigned uses =
        writer ? PERMISSION_READ | PERMISSION_WRITE | PERMISSION_RESIZE : PERMISSION_READ;
    const unsigned unshares = PERMISSION_WRITE | PERMISSION_RESIZE;

    if (!set_lock(fd, writer ? F_WRLCK : F_RDLCK, 0, USED_BASE)) {
        return errno == EACCES ? EAGAIN : errno;
    }
    for (unsigned n = 0; n < PERMISSIONS; n++) {
        if (((uses >> n & 1) != 0 && !set_lock(fd, F_RDLCK, USED_BASE + n, 1)) ||
            ((unshares >> n & 1) != 0 && !set_lock(fd, F_RDLCK, UNSHARED_BASE + n, 1))) {
            int error = errno;

            unlock_all(fd);
            return error == EACCES ? EAGAIN : error;
        }
    }
    for (unsigned n = 0; n < PERMISSIONS; n++) {
        if (((uses >> n & 1) != 0 && is_taken(fd, UNSHARED_BASE + n)) ||
            ((unshares >> n & 1) != 0 && is_taken(fd, USED_BASE + n))) {
            unlock_all(fd);
            return EAGAIN;
        }
    }
    return 0;
}

/* Whether a descriptor has a lock on the file. */
static bool has_lock_on(const char *fdinfo, const void *opaque)
{
    const struct stat *st = opaque;
    g_auto(GStrv) lines = g_strsplit(fdinfo, "\n", -1);
    g_autofree char *inode = g_strdup_printf(" %02x:%02x:%llu ", major(st->st_dev),
                                             minor(st->st_dev), (unsigned long long)st->st_ino);

    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "lock:") && strstr(*line, inode) != NULL) {
            return true;
        }
    }
    return false;
}

/* A process that has a lock on the file, 0 if none can be found. */
static int find_holder(int fd)
{
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    const char *name;
    struct stat st;

    if (processes == NULL || fstat(fd, &st) < 0) {
        return 0;
    }
    while ((name = g_dir_read_name(processes)) != NULL) {
        const int pid = atoi(name);

        if (g_ascii_isdigit(name[0]) && pid != (int)getpid() &&
            fs_fdinfo_any(pid, has_lock_on, &st)) {
            return pid;
        }
    }
    return 0;
}

static void set_busy(int fd, const char *name, bool writer, double waited, GError **error)
{
    const char *want = writer ? "used" : "written to";
    g_autofree char *hint = waited > 0 ? g_strdup_printf("still so after %g s", waited)
                                       : g_strdup("wait=SECONDS waits for it");
    int pid = find_holder(fd);

    if (pid > 0) {
        g_autofree char *path = g_strdup_printf("/proc/%d/comm", pid);
        g_autofree char *command = NULL;

        g_file_get_contents(path, &command, NULL, NULL);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY, "'%s' is %s by process %d (%s); %s", name,
                    want, pid, command == NULL ? "?" : g_strchomp(command), hint);
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY, "'%s' is %s by another process; %s", name,
                    want, hint);
    }
}

bool block_image_lock(int fd, const char *name, bool writer, double wait_seconds, GError **error)
{
    const gint64 deadline = g_get_monotonic_time() + (gint64)(wait_seconds * G_USEC_PER_SEC);
    int result;

    while ((result = try_lock(fd, writer)) == EAGAIN && g_get_monotonic_time() < deadline) {
        g_usleep(RETRY_US);
    }
    if (result == EAGAIN) {
        set_busy(fd, name, writer, wait_seconds, error);
        return false;
    }
    if (result != 0) {
        g_warning("'%s' cannot be locked (%s): see to it that nobody else uses it", name,
                  g_strerror(result));
    }
    return true;
}
