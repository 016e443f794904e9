/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * sluicefs umount: unmount and wait for the daemon.
 *
 * How it works: the mount is looked up in the mount table and its daemon by
 * the run-time entry (instance.h), before anything is unmounted; nothing here
 * sends a request to the mount. umount(2) itself may have to wait for a
 * daemon that writes back, so it runs in a child that the time limit can
 * leave behind. Then a pidfd tells when the daemon has exited, which it does
 * after it has answered and written everything, or has said in its entry what
 * it could not write.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>

#include "tools/sluicefs/command.h"
#include "tools/sluicefs/instance.h"
#include "tools/sluicefs/mount-table.h"
#include "tools/sluicefs/printable.h"

/* What the unmounting child tells by its exit status, beside an errno. */
#define CHILD_HELPER_FAILED 200 /* fusermount3 has said why */
#define CHILD_NO_HELPER     201

/* Wait until @fd is readable. False: the deadline (0: none) has passed. */
static bool wait_readable(int fd, gint64 deadline_us)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    for (;;) {
        int wait_ms = -1, ready;

        if (deadline_us != 0) {
            gint64 left = deadline_us - g_get_monotonic_time();

            wait_ms = left <= 0 ? 0 : (int)MIN(left / 1000 + 1, G_MAXINT);
        }
        ready = poll(&poll_fd, 1, wait_ms);
        if (ready > 0) {
            return true;
        }
        if (ready == 0 && wait_ms == 0) {
            return false;
        }
    }
}

static void child_unmount(const char *mountpoint, bool lazy) G_GNUC_NORETURN;
static void child_unmount(const char *mountpoint, bool lazy)
{
    if (geteuid() == 0) {
        _exit(umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? errno : 0);
    }
    if (lazy) {
        execlp("fusermount3", "fusermount3", "-u", "-z", "--", mountpoint, NULL);
    } else {
        execlp("fusermount3", "fusermount3", "-u", "--", mountpoint, NULL);
    }
    _exit(CHILD_NO_HELPER);
}

static bool explain_unmount(int status, GError **error)
{
    if (status == 0) {
        return true;
    }
    switch (status) {
    case CHILD_HELPER_FAILED:
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "fusermount3 failed");
        break;
    case CHILD_NO_HELPER:
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "fusermount3 cannot be run (install fuse3, or unmount as root)");
        break;
    case EBUSY:
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "it is busy ('fuser -vm' shows who uses it; --lazy detaches it anyway)");
        break;
    default:
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(status), "%s",
                    g_strerror(status));
        break;
    }
    return false;
}

/* Unmount in a child, so that a deadline holds. */
static bool unmount(const char *mountpoint, bool lazy, gint64 deadline_us, GError **error)
{
    int pid_fd, status;
    pid_t child = fork();

    if (child < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno), "fork: %s",
                    g_strerror(errno));
        return false;
    }
    if (child == 0) {
        child_unmount(mountpoint, lazy);
    }
    pid_fd = (int)syscall(SYS_pidfd_open, child, 0);
    if (pid_fd >= 0 && !wait_readable(pid_fd, deadline_us)) {
        close(pid_fd);
        kill(child, SIGKILL);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                    "the time is over and it is still being unmounted (--force cuts it off)");
        return false;
    }
    if (pid_fd >= 0) {
        close(pid_fd);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    /* Only of our own umount(2) the status is an errno. */
    if (!WIFEXITED(status) ||
        (geteuid() != 0 && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != CHILD_NO_HELPER)) {
        return explain_unmount(CHILD_HELPER_FAILED, error);
    }
    return explain_unmount(WEXITSTATUS(status), error);
}

/*
 * Cut the connection: through the control file of its owner if the control
 * file system is there, else root may ask for it by umount(2).
 */
static bool abort_connection(const MountEntry *entry, GError **error)
{
    g_autofree char *path =
        g_strdup_printf("/sys/fs/fuse/connections/%u/abort", minor(entry->device));
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        bool written = write(fd, "1", 1) == 1;

        close(fd);
        if (written) {
            return true;
        }
    }
    /* MNT_FORCE aborts first; whether the mount is busy does not matter here. */
    if (geteuid() == 0 &&
        (umount2(entry->mountpoint, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ||
         errno == EBUSY)) {
        return true;
    }
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                "cannot cut the connection by '%s': %s", path, g_strerror(errno));
    return false;
}

static bool wait_for_daemon(int daemon_fd, pid_t daemon, const MountEntry *entry,
                            gint64 deadline_us, GError **error)
{
    g_autofree char *elsewhere = NULL;

    if (wait_readable(daemon_fd, deadline_us)) {
        return true;
    }
    elsewhere = mount_table_elsewhere(entry);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                "the time is over and the daemon (process %d) still runs%s%s", (int)daemon,
                elsewhere ? "; it is still mounted in the mount namespaces of these processes: "
                          : "",
                elsewhere ? elsewhere : "");
    return false;
}

/* Whether the daemon, which has ended, has written everything. */
static bool check_loss(int entry_fd, GError **error)
{
    g_autofree char *loss = instance_read_loss(entry_fd);

    if (loss != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "the daemon could not write everything: %s", loss);
    }
    return loss == NULL;
}

/* *@unmounted: also if there is an @error. */
static bool umount_one(const Options *options, const char *path, bool *unmounted, GError **error)
{
    gint64 deadline_us = options->timeout > 0
                             ? g_get_monotonic_time() + (gint64)(options->timeout * G_USEC_PER_SEC)
                             : 0;
    g_autoptr(MountEntry) entry = mount_table_find_path(path, error);
    g_autoptr(GError) find_error = NULL;
    bool foreign, ok;
    pid_t daemon = 0;
    int daemon_fd, entry_fd;

    *unmounted = false;
    if (entry == NULL) {
        return false;
    }
    if (!mount_entry_is_fuse(entry)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "it is a mount of type %s, not of sluicefs (use umount)", entry->type);
        return false;
    }
    daemon_fd =
        instance_find(entry->device, (uid_t)mount_entry_get_number(entry, "user_id", geteuid()),
                      &daemon, &entry_fd, &find_error);
    foreign = strcmp(entry->type, "fuse.sluicefs") != 0;
    if (daemon_fd < 0 && find_error == NULL && foreign) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "it is a mount of type %s without a sluicefs daemon (use umount)", entry->type);
        return false;
    }
    if (find_error != NULL) {
        g_autofree char *reason = printable(find_error->message);

        fprintf(stderr, "sluicefs: '%s': not waiting for its daemon: %s\n", path, reason);
    } else if (daemon_fd < 0) {
        fprintf(stderr, "sluicefs: '%s': no daemon to wait for: it is dead or unknown here\n",
                path);
    }

    ok = true;
    if (options->force) {
        ok = abort_connection(entry, error);
    }
    if (ok) {
        g_autoptr(MountEntry) still = options->force ? mount_table_find_id(entry->id, NULL) : NULL;

        if (!options->force || still != NULL) {
            ok = unmount(entry->mountpoint, options->lazy || options->force, deadline_us, error);
        }
    }
    *unmounted = ok;
    if (daemon_fd >= 0) {
        ok = ok && wait_for_daemon(daemon_fd, daemon, entry, deadline_us, error) &&
             check_loss(entry_fd, error);
        close(daemon_fd);
    }
    if (entry_fd >= 0) {
        close(entry_fd);
    }
    return ok;
}

int umount_run(Options *options)
{
    unsigned failed = 0;

    for (guint i = 0; i < options->arguments->len; i++) {
        const char *path = g_ptr_array_index(options->arguments, i);
        g_autoptr(GError) error = NULL;
        bool unmounted;

        if (!umount_one(options, path, &unmounted, &error)) {
            g_autofree char *reason = printable(error->message);

            fprintf(stderr,
                    unmounted ? "sluicefs: '%s' is unmounted, but %s\n"
                              : "sluicefs: cannot unmount '%s': %s\n",
                    path, reason);
            failed++;
        }
    }
    if (failed == 0) {
        return EXIT_OK;
    }
    return failed < options->arguments->len ? EXIT_SOME_FAILED : EXIT_FAILED;
}
