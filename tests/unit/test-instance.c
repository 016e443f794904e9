/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The mount table and the run-time entries that umount relies on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "tools/sluicefs/instance.h"
#include "tools/sluicefs/mount-table.h"

/* No file system has this one. */
#define DEVICE makedev(4000, 77)

static void test_parse_line(void)
{
    g_autoptr(MountEntry) entry = mount_table_parse_line(
        "36 25 0:45 / /mnt/a\\040b\\134c ro,nosuid,nodev,relatime shared:1 master:2 - "
        "fuse.sluicefs source:/x\\011y rw,user_id=1000,group_id=7,allow_other");

    g_assert_nonnull(entry);
    g_assert_cmpint(entry->id, ==, 36);
    g_assert_cmphex(entry->device, ==, makedev(0, 45));
    g_assert_cmpstr(entry->mountpoint, ==, "/mnt/a b\\c");
    g_assert_cmpstr(entry->type, ==, "fuse.sluicefs");
    g_assert_cmpstr(entry->source, ==, "source:/x\ty");
    g_assert_cmphex(entry->flags, ==, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_RELATIME);
    g_assert_cmpuint(mount_entry_get_number(entry, "user_id", 1), ==, 1000);
    g_assert_cmpuint(mount_entry_get_number(entry, "group_id", 1), ==, 7);
    g_assert_cmpuint(mount_entry_get_number(entry, "user", 1), ==, 1);
}

static void test_parse_bad_lines(void)
{
    static const char *const lines[] = {
        "",
        "1",
        "36 25 0:45 / /mnt rw",
        "36 25 0:45 / /mnt rw -",
        "36 25 0:45 / /mnt rw - fuse x",
        "36 25 045 / /mnt rw - fuse x rw",
        "x 25 0:45 / /mnt rw - fuse x rw",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_assert_null(mount_table_parse_line(lines[i]));
    }
}

static void test_find_path(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountEntry) proc = mount_table_find_path("/proc/./", &error);
    g_autoptr(MountEntry) inside = NULL, missing = NULL;

    g_assert_no_error(error);
    g_assert_cmpstr(proc->mountpoint, ==, "/proc");
    g_assert_cmpstr(proc->type, ==, "proc");

    inside = mount_table_find_path("/proc/sys/kernel", &error);
    g_assert_null(inside);
    g_assert_nonnull(strstr(error->message, "not a mount point"));
    g_clear_error(&error);

    missing = mount_table_find_path("/proc/there-is-no-such-thing", &error);
    g_assert_null(missing);
    g_assert_cmpstr(error->message, ==, g_strerror(ENOENT));
}

/* Where entries of this process are made. */
static char *entry_path(void)
{
    g_auto(GStrv) directories = instance_directories(geteuid());

    return g_strdup_printf("%s/%u:%u", directories[0], major(DEVICE), minor(DEVICE));
}

static int find(pid_t *pid)
{
    g_autoptr(GError) error = NULL;
    int fd = instance_find(DEVICE, geteuid(), pid, NULL, &error);

    g_assert_no_error(error);
    return fd;
}

typedef enum DaemonEnd { END_CLEAN, END_BY_CRASH, END_WITH_LOSS } DaemonEnd;

/* A child registers and waits; returns its pid once it has. */
static pid_t start_daemon(DaemonEnd end)
{
    int pipe_fds[2];
    char byte;
    pid_t child;

    g_assert_no_errno(pipe(pipe_fds));
    child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        GError *error = NULL;
        Instance *instance = instance_register(DEVICE, "test", "src", "/mnt", &error);
        sigset_t term;
        int number;

        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        /* What a daemon reads and closes again, for a client that looks there, changes nothing. */
        g_autofree char *entry = entry_path();
        close(open(entry, O_RDONLY | O_CLOEXEC));
        if (instance == NULL || write(pipe_fds[1], "", 1) != 1) {
            _exit(1);
        }
        sigwait(&term, &number);
        if (end == END_WITH_LOSS) {
            instance_report_loss(instance, "cannot write 'a': full");
        }
        if (end != END_BY_CRASH) {
            instance_unregister(instance);
        }
        _exit(0);
    }
    close(pipe_fds[1]);
    g_assert_cmpint(read(pipe_fds[0], &byte, 1), ==, 1);
    close(pipe_fds[0]);
    return child;
}

static void end_daemon(pid_t child)
{
    int status;

    g_assert_no_errno(kill(child, SIGTERM));
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
}

static void test_find_daemon(void)
{
    pid_t child = start_daemon(END_CLEAN), found = 0;
    int fd = find(&found);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(found, ==, child);
    g_assert_cmpint(poll(&poll_fd, 1, 0), ==, 0);
    end_daemon(child);
    g_assert_cmpint(poll(&poll_fd, 1, 0), ==, 1);
    close(fd);
    g_assert_cmpint(find(&found), ==, -1);
}

/* The entry of a daemon that died is no daemon; it is removed, or the next one takes it. */
static void test_stale_entry(void)
{
    g_autofree char *entry = entry_path();
    pid_t child = start_daemon(END_BY_CRASH), found = 0;
    int fd;

    end_daemon(child);
    g_assert_no_errno(access(entry, F_OK));
    g_assert_cmpint(find(&found), ==, -1);
    g_assert_cmpint(access(entry, F_OK), ==, -1);

    end_daemon(start_daemon(END_BY_CRASH));
    child = start_daemon(END_CLEAN);
    fd = find(&found);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(found, ==, child);
    close(fd);
    end_daemon(child);
}

/* Who waits for a daemon's end hears what it could not write; nobody else does. */
static void test_loss(void)
{
    const DaemonEnd ends[] = {END_CLEAN, END_WITH_LOSS};

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *before = NULL, *after = NULL;
        pid_t child = start_daemon(ends[i]), found;
        int entry_fd, fd = instance_find(DEVICE, geteuid(), &found, &entry_fd, &error);

        g_assert_no_error(error);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(entry_fd, >=, 0);
        before = instance_read_loss(entry_fd);
        g_assert_null(before);
        end_daemon(child);
        after = instance_read_loss(entry_fd);
        g_assert_cmpstr(after, ==, ends[i] == END_CLEAN ? NULL : "cannot write 'a': full");
        close(entry_fd);
        close(fd);
    }
    g_assert_null(instance_read_loss(-1));
    instance_report_loss(NULL, "nobody");
}

/* A successor with the same device number keeps its entry when the first one leaves. */
static void test_successor(void)
{
    pid_t first = start_daemon(END_CLEAN), second = start_daemon(END_CLEAN), found = 0;
    int fd;

    end_daemon(first);
    fd = find(&found);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(found, ==, second);
    close(fd);
    end_daemon(second);
}

/* Others may put anything there: nobody waits for it. */
static void test_strange_entry(void)
{
    g_autofree char *entry = entry_path();
    pid_t found = 0;
    int fd;

    g_unlink(entry);
    g_assert_no_errno(mkfifo(entry, 0644));
    g_assert_cmpint(find(&found), ==, -1);
    g_assert_no_errno(g_unlink(entry));

    /* A lock alone does not make a daemon. */
    fd = open(entry, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    g_assert_no_errno(fcntl(fd, F_OFD_SETLK, &lock));
    g_assert_cmpint(find(&found), ==, -1);
    g_assert_cmpint(write(fd, "pid=1\n", 6), ==, 6);
    g_assert_cmpint(find(&found), ==, -1);
    g_assert_no_errno(g_unlink(entry));
    close(fd);
}

/* A directory that others can write to is not trusted. */
static void test_open_directory_refused(void)
{
    g_auto(GStrv) directories = instance_directories(geteuid());
    const char *directory = directories[0];
    g_autoptr(GError) error = NULL;
    pid_t pid;

    if (geteuid() == 0) {
        g_test_skip("the directory of root is the system's");
        return;
    }
    g_assert_no_errno(g_mkdir_with_parents(directory, 0755));
    g_assert_no_errno(chmod(directory, 0777));
    g_assert_cmpint(instance_find(DEVICE, geteuid(), &pid, NULL, &error), ==, -1);
    g_assert_nonnull(error);
    g_assert_null(instance_register(DEVICE, "test", "src", "/mnt", NULL));
    g_assert_no_errno(chmod(directory, 0755));
}

int main(int argc, char **argv)
{
    g_autofree char *runtime = g_dir_make_tmp("sluicefs-test-XXXXXX", NULL);
    g_autofree char *directory = g_build_filename(runtime, "sluicefs", NULL);
    g_autofree char *lock = g_build_filename(directory, "lock", NULL);
    int status;

    g_setenv("XDG_RUNTIME_DIR", runtime, TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mount-table/parse-line", test_parse_line);
    g_test_add_func("/mount-table/parse-bad-lines", test_parse_bad_lines);
    g_test_add_func("/mount-table/find-path", test_find_path);
    g_test_add_func("/instance/find-daemon", test_find_daemon);
    g_test_add_func("/instance/stale-entry", test_stale_entry);
    g_test_add_func("/instance/successor", test_successor);
    g_test_add_func("/instance/loss", test_loss);
    g_test_add_func("/instance/strange-entry", test_strange_entry);
    g_test_add_func("/instance/open-directory-refused", test_open_directory_refused);
    status = g_test_run();
    g_unlink(lock);
    g_rmdir(directory);
    g_rmdir(runtime);
    return status;
}
