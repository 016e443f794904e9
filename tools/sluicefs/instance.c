/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The run-time entry of a serving daemon.
 *
 * How it works: a file named by the mount's device number, which no other
 * living file system has. It says the daemon's process id, and the daemon holds
 * an open-file-description lock on it: a dead daemon has none, so entries cannot be
 * stale. The pid counts only in the pid namespace that the entry names and
 * for a process of the directory's owner; it may be reused between the
 * reading and pidfd_open(2), so the lock is asked for again after it.
 *
 * An entry may be gone (the run-time directory is removed at logout) or lie where
 * the asker does not look. Then the kernel is asked: fdinfo of a descriptor of
 * /dev/fuse names its connection, as far as the asker may look.
 *
 * The kernel may give a device number away again while the daemon that had it
 * is still exiting, so registering and unregistering exclude each other by a
 * lock file that nobody else can open, and a daemon removes the entry only while
 * it is the file that it made.
 *
 * A daemon that could not write everything adds a line to its entry before it removes that: who
 * waits for its end holds the entry open, and reads it then.
 *
 * The directory of another user is only trusted if it belongs to that user,
 * and what is in it may be anything.
 */
#include "tools/sluicefs/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/fdinfo.h"
#include "tools/sluicefs/printable.h"

/* How long the directory is waited for, and how often it is looked at. */
#define LOCK_TRIES   1000
#define LOCK_STEP_US 5000

#define LOSS     "lost="
#define LOSS_MAX 16384 /* bytes at the end of an entry that are looked at for it */

struct Instance {
    int dir_fd, fd;
    char name[32];
};

static void set_errno(GError **error, int number, const char *what, const char *path)
{
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(number), "cannot %s '%s': %s", what,
                path, g_strerror(number));
}

char **instance_directories(uid_t owner)
{
    const char *runtime = g_getenv("XDG_RUNTIME_DIR");
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (owner == 0) {
        g_ptr_array_add(paths, g_strdup("/run/sluicefs"));
    } else {
        if (owner == getuid() && runtime != NULL && runtime[0] == '/') {
            g_ptr_array_add(paths, g_build_filename(runtime, "sluicefs", NULL));
        }
        g_ptr_array_add(paths, g_strdup_printf("/run/user/%u/sluicefs", (unsigned)owner));
        g_ptr_array_add(paths, g_strdup_printf("/tmp/sluicefs-%u", (unsigned)owner));
    }
    g_ptr_array_add(paths, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&paths), FALSE);
}

/* The first whose parent exists. */
static char *own_directory(void)
{
    g_auto(GStrv) paths = instance_directories(geteuid());

    for (char **path = paths; *path != NULL; path++) {
        g_autofree char *parent = g_path_get_dirname(*path);

        if (g_file_test(parent, G_FILE_TEST_IS_DIR)) {
            return g_strdup(*path);
        }
    }
    return g_strdup(paths[0]);
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

static char *socket_path(const char *directory, dev_t device)
{
    return g_strdup_printf("%s/%u:%u.socket", directory, major(device), minor(device));
}

char *instance_own_socket(dev_t device)
{
    g_autofree char *directory = own_directory();

    return socket_path(directory, device);
}

char **instance_sockets(uid_t owner, dev_t device)
{
    char **paths = instance_directories(owner);

    for (char **path = paths; *path != NULL; path++) {
        char *directory = *path;

        *path = socket_path(directory, device);
        g_free(directory);
    }
    return paths;
}

/*
 * Keep others of this user out of the directory: a descriptor to close; -1: go on without. A
 * process that was stopped with it keeps nobody from ending.
 */
static int lock_directory(int dir_fd)
{
    int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    for (unsigned i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && i < LOCK_TRIES; i++) {
        g_usleep(LOCK_STEP_US);
    }
    return fd;
}

static void unlock_directory(int lock_fd)
{
    if (lock_fd >= 0) {
        close(lock_fd);
    }
}

int instance_lock(void)
{
    g_autofree char *directory = own_directory();
    int dir_fd = open_directory(directory, geteuid());
    int lock_fd = dir_fd < 0 ? -1 : lock_directory(dir_fd);

    if (dir_fd >= 0) {
        close(dir_fd);
    }
    return lock_fd;
}

void instance_unlock(int lock_fd)
{
    unlock_directory(lock_fd);
}

/* The pid namespace of this process, as /proc names it; "" if unknown. */
static const char *pid_namespace(void)
{
    static char name[64];

    if (name[0] == '\0' && readlink("/proc/self/ns/pid", name, sizeof(name) - 1) < 0) {
        name[0] = '\0';
    }
    return name;
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
    if (instance->fd < 0 || fcntl(instance->fd, F_OFD_SETLK, &lock) < 0 ||
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
    g_autofree char *directory = own_directory();
    g_autofree char *shown_source = printable(source), *shown_mountpoint = printable(mountpoint);
    g_autofree char *text =
        g_strdup_printf("pid=%d\nnamespace=%s\ncommand=%s\nsource=%s\nmountpoint=%s\n",
                        (int)getpid(), pid_namespace(), command, shown_source, shown_mountpoint);
    Instance *instance = g_new0(Instance, 1);
    int lock_fd;
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
    lock_fd = lock_directory(instance->dir_fd);
    made = make_entry(instance, text, error);
    unlock_directory(lock_fd);
    if (!made) {
        g_prefix_error(error, "in the run-time directory '%s': ", directory);
        instance_free(instance);
        return NULL;
    }
    return instance;
}

void instance_report_loss(Instance *instance, const char *message)
{
    g_autofree char *one_line = g_strdelimit(g_strdup(message), "\n", ' ');
    g_autofree char *line = g_strdup_printf(LOSS "%s\n", one_line);

    if (instance != NULL && write(instance->fd, line, strlen(line)) != (ssize_t)strlen(line)) {
        g_warning("'sluicefs umount' does not hear of that: %s", g_strerror(errno));
    }
}

char *instance_read_loss(int entry_fd)
{
    g_autofree char *text = g_malloc(LOSS_MAX + 1);
    const off_t size = entry_fd < 0 ? 0 : lseek(entry_fd, 0, SEEK_END);
    ssize_t length = size <= 0 ? 0 : pread(entry_fd, text, LOSS_MAX, MAX(size - LOSS_MAX, 0));
    const char *line;

    text[MAX(length, 0)] = '\0';
    line = g_strrstr(text, "\n" LOSS);
    if (line == NULL) {
        return NULL;
    }
    line += strlen("\n" LOSS);
    return g_strndup(line, strcspn(line, "\n"));
}

void instance_unregister(Instance *instance)
{
    struct stat ours, there;
    int lock_fd;

    if (instance == NULL) {
        return;
    }
    lock_fd = lock_directory(instance->dir_fd);
    if (fstat(instance->fd, &ours) == 0 &&
        fstatat(instance->dir_fd, instance->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
        unlinkat(instance->dir_fd, instance->name, 0);
    }
    unlock_directory(lock_fd);
    instance_free(instance);
}

/* Whether a living daemon holds the entry. */
static bool is_held(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Remove the entry @name, which @fd is, if its daemon is dead. */
static void remove_stale(int dir_fd, const char *name, int fd)
{
    struct stat ours, there;
    int lock_fd = lock_directory(dir_fd);

    if (!is_held(fd) && fstat(fd, &ours) == 0 &&
        fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == there.st_ino) {
        unlinkat(dir_fd, name, 0);
    }
    unlock_directory(lock_fd);
}

/* The process that an entry names; 0: none that counts. */
static pid_t read_pid(int fd, bool *elsewhere)
{
    char text[256];
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    g_auto(GStrv) lines = NULL;
    int pid = 0;

    text[MAX(length, 0)] = '\0';
    lines = g_strsplit(text, "\n", 3);
    if (lines[0] == NULL || lines[1] == NULL || sscanf(lines[0], "pid=%d", &pid) != 1 ||
        !g_str_has_prefix(lines[1], "namespace=")) {
        return 0;
    }
    *elsewhere = strcmp(lines[1] + strlen("namespace="), pid_namespace()) != 0;
    return pid;
}

static bool is_process_of(pid_t pid, uid_t owner)
{
    char path[32];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    return stat(path, &st) == 0 && st.st_uid == owner;
}

/* The daemon of the entry @fd: a pidfd; -1 without @error if there is none. */
static int watch_daemon(int fd, uid_t owner, pid_t *pid, GError **error)
{
    bool elsewhere = false;
    int pid_fd;

    *pid = read_pid(fd, &elsewhere);
    if (elsewhere) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "the daemon runs in another pid namespace");
        return -1;
    }
    pid_fd = *pid > 0 ? (int)syscall(SYS_pidfd_open, *pid, 0) : -1;
    if (pid_fd >= 0 && (!is_process_of(*pid, owner) || !is_held(fd))) {
        close(pid_fd);
        return -1;
    }
    return pid_fd;
}

/* The entry in one directory. */
static int find_entry(const char *directory, uid_t owner, const char *name, pid_t *pid,
                      int *entry_fd, GError **error)
{
    int dir_fd = open_directory(directory, owner), fd, pid_fd = -1;
    struct stat st;

    if (dir_fd < 0) {
        if (errno != ENOENT) {
            set_errno(error, errno, "use the run-time directory", directory);
        }
        return -1;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) {
        set_errno(error, errno, "read the run-time entry", name);
    }
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if (is_held(fd)) {
            pid_fd = watch_daemon(fd, owner, pid, error);
        } else if (owner == geteuid()) {
            remove_stale(dir_fd, name, fd);
        }
    }
    if (pid_fd >= 0 && entry_fd != NULL) {
        *entry_fd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    close(dir_fd);
    return pid_fd;
}

static bool has_line(const char *fdinfo, const void *opaque)
{
    return strstr(fdinfo, opaque) != NULL;
}

/* Whether a descriptor of @pid belongs to the FUSE connection @number. */
static bool has_connection(int pid, unsigned number)
{
    g_autofree char *line = g_strdup_printf("fuse_connection:\t%u\n", number);

    return fs_fdinfo_any(pid, has_line, line);
}

static int find_by_connection(dev_t device, uid_t owner, pid_t *pid)
{
    g_autoptr(GDir) processes = g_dir_open("/proc", 0, NULL);
    const char *name;

    while (processes != NULL && (name = g_dir_read_name(processes)) != NULL) {
        const pid_t candidate = atoi(name);

        if (g_ascii_isdigit(name[0]) && is_process_of(candidate, owner) &&
            has_connection(candidate, minor(device))) {
            int pid_fd = (int)syscall(SYS_pidfd_open, candidate, 0);

            if (pid_fd >= 0 && has_connection(candidate, minor(device))) {
                *pid = candidate;
                return pid_fd;
            }
            if (pid_fd >= 0) {
                close(pid_fd);
            }
        }
    }
    return -1;
}

int instance_find(dev_t device, uid_t owner, pid_t *pid, int *entry_fd, GError **error)
{
    g_auto(GStrv) directories = instance_directories(owner);
    g_autoptr(GError) first = NULL;
    char name[32];
    int pid_fd = -1;

    if (entry_fd != NULL) {
        *entry_fd = -1;
    }
    entry_name(name, device);
    for (char **directory = directories; *directory != NULL && pid_fd < 0; directory++) {
        pid_fd = find_entry(*directory, owner, name, pid, entry_fd, first == NULL ? &first : NULL);
    }
    if (pid_fd < 0) {
        pid_fd = find_by_connection(device, owner, pid);
    }
    if (pid_fd < 0 && first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
    }
    return pid_fd;
}
