/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The run-time entry of a serving daemon.
 *
 * How it works: a file named by the mount's device number, which no other
 * living file system has. The daemon holds a POSIX write lock on it; F_GETLK
 * then tells everybody its process id, translated into the asker's pid
 * namespace, and a dead daemon has no lock, so entries cannot be stale. A pid
 * may be reused between F_GETLK and pidfd_open(2): the lock is asked for
 * again after it, and only the same holder counts.
 *
 * A POSIX lock is lost when the process closes any descriptor of the file:
 * the daemon opens it here once and nowhere else.
 *
 * The kernel may give a device number away again while the daemon that had it
 * is still exiting, so registering and unregistering exclude each other by an
 * flock on the directory, and a daemon removes the entry only while it is
 * the file that it made.
 *
 * The directory of another user is only trusted if it belongs to that user.
 */
#include "tools/sluicefs/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gio/gio.h>

struct Instance {
    int dir_fd, fd;
    char name[32];
};

static void set_errno(GError **error, int number, const char *what, const char *path)
{
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(number), "cannot %s '%s': %s", what,
                path, g_strerror(number));
}

char *instance_directory(uid_t owner)
{
    const char *runtime = g_getenv("XDG_RUNTIME_DIR");
    g_autofree char *login = g_strdup_printf("/run/user/%u", (unsigned)owner);

    if (owner == 0) {
        return g_strdup("/run/sluicefs");
    }
    if (owner == getuid() && runtime != NULL && runtime[0] == '/') {
        return g_build_filename(runtime, "sluicefs", NULL);
    }
    if (g_file_test(login, G_FILE_TEST_IS_DIR)) {
        return g_build_filename(login, "sluicefs", NULL);
    }
    return g_strdup_printf("/tmp/sluicefs-%u", (unsigned)owner);
}

/* Open the directory of @owner; -1 with errno. */
static int open_directory(const char *path, uid_t owner)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &st) < 0 || st.st_uid != owner || (st.st_mode & 022) != 0) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

static void entry_name(char name[32], dev_t device)
{
    snprintf(name, 32, "%u:%u", major(device), minor(device));
}

char *instance_socket_path(uid_t owner, dev_t device)
{
    g_autofree char *directory = instance_directory(owner);

    return g_strdup_printf("%s/%u:%u.socket", directory, major(device), minor(device));
}

/* Open, lock and fill the entry, below the locked directory. */
static bool make_entry(Instance *instance, const char *text, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (unlinkat(instance->dir_fd, instance->name, 0) < 0 && errno != ENOENT) {
        set_errno(error, errno, "replace", instance->name);
        return false;
    }
    instance->fd = openat(instance->dir_fd, instance->name,
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (instance->fd < 0 || fcntl(instance->fd, F_SETLK, &lock) < 0 ||
        write(instance->fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        set_errno(error, errno, "write", instance->name);
        return false;
    }
    return true;
}

static void instance_free(Instance *instance)
{
    if (instance->fd >= 0) {
        close(instance->fd);
    }
    if (instance->dir_fd >= 0) {
        close(instance->dir_fd);
    }
    g_free(instance);
}

Instance *instance_register(dev_t device, const char *command, const char *source,
                            const char *mountpoint, GError **error)
{
    g_autofree char *directory = instance_directory(geteuid());
    g_autofree char *text = g_strdup_printf("pid=%d\ncommand=%s\nsource=%s\nmountpoint=%s\n",
                                            (int)getpid(), command, source, mountpoint);
    Instance *instance = g_new0(Instance, 1);
    bool made;

    instance->fd = -1;
    entry_name(instance->name, device);
    if (mkdir(directory, 0755) < 0 && errno != EEXIST) {
        instance->dir_fd = -1;
    } else {
        instance->dir_fd = open_directory(directory, geteuid());
    }
    if (instance->dir_fd < 0) {
        set_errno(error, errno, "use the run-time directory", directory);
        instance_free(instance);
        return NULL;
    }
    flock(instance->dir_fd, LOCK_EX);
    made = make_entry(instance, text, error);
    flock(instance->dir_fd, LOCK_UN);
    if (!made) {
        g_prefix_error(error, "in the run-time directory '%s': ", directory);
        instance_free(instance);
        return NULL;
    }
    return instance;
}

void instance_unregister(Instance *instance)
{
    struct stat ours, there;

    if (instance == NULL) {
        return;
    }
    flock(instance->dir_fd, LOCK_EX);
    if (fstat(instance->fd, &ours) == 0 &&
        fstatat(instance->dir_fd, instance->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
        unlinkat(instance->dir_fd, instance->name, 0);
    }
    flock(instance->dir_fd, LOCK_UN);
    instance_free(instance);
}

/*
 * Who holds the lock of @fd: its pid, 0: nobody. A holder in a pid namespace
 * that we do not see has the pid -1 or 0 by the kernel's account.
 */
static pid_t lock_holder(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_GETLK, &lock) < 0) {
        return -1;
    }
    if (lock.l_type == F_UNLCK) {
        return 0;
    }
    return lock.l_pid > 0 ? lock.l_pid : -1;
}

/* Remove the entry @name, which @fd is, if its daemon is dead. */
static void remove_stale(int dir_fd, const char *name, int fd)
{
    struct stat ours, there;

    flock(dir_fd, LOCK_EX);
    if (lock_holder(fd) == 0 && fstat(fd, &ours) == 0 &&
        fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == there.st_ino) {
        unlinkat(dir_fd, name, 0);
    }
    flock(dir_fd, LOCK_UN);
}

int instance_find(dev_t device, uid_t owner, pid_t *pid, GError **error)
{
    g_autofree char *directory = instance_directory(owner);
    int dir_fd = open_directory(directory, owner);
    int fd, pid_fd = -1;
    char name[32];

    if (dir_fd < 0) {
        if (errno != ENOENT) {
            set_errno(error, errno, "use the run-time directory", directory);
        }
        return -1;
    }
    entry_name(name, device);
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT) {
            set_errno(error, errno, "read the run-time entry", name);
        }
        close(dir_fd);
        return -1;
    }

    *pid = lock_holder(fd);
    if (*pid == 0) {
        remove_stale(dir_fd, name, fd);
    } else if (*pid < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "the daemon runs in another pid namespace");
    } else {
        pid_fd = (int)syscall(SYS_pidfd_open, *pid, 0);
        if (pid_fd < 0 && errno != ESRCH) {
            g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                        "cannot watch the daemon (process %d): %s", (int)*pid, g_strerror(errno));
        } else if (pid_fd >= 0 && lock_holder(fd) != *pid) {
            close(pid_fd);
            pid_fd = -1;
        }
    }
    close(fd);
    close(dir_fd);
    return pid_fd;
}
