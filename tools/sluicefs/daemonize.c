/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Going to the background, and telling others when the mount serves.
 *
 * How it works: one fork; a pipe from child to parent. A byte in the pipe is
 * success. The end of the pipe without one means that the child has exited or
 * is about to: its exit status then becomes the parent's, and its messages
 * have already reached the same standard error. The pipe is close-on-exec, so
 * no helper of the child can hold it open.
 */
#include "tools/sluicefs/daemonize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>

#include "tools/sluicefs/command.h"

void daemonize_open_standard(void)
{
    int fd;

    /* The lowest free number is taken; beyond 2, all three are there. */
    do {
        fd = open("/dev/null", O_RDWR | O_NOCTTY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        close(fd);
    }
}

static bool is_kept(int fd, const int *keep, size_t n_keep)
{
    for (size_t i = 0; i < n_keep; i++) {
        if (keep[i] == fd) {
            return true;
        }
    }
    return false;
}

void daemonize_close_inherited(const int *keep, size_t n_keep)
{
    DIR *dir = opendir("/proc/self/fd");
    g_autoptr(GArray) doomed = g_array_new(FALSE, FALSE, sizeof(int));
    struct dirent *entry;

    if (dir == NULL) {
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        gint64 fd;

        if (g_ascii_string_to_signed(entry->d_name, 10, 3, G_MAXINT, &fd, NULL) &&
            fd != dirfd(dir) && !is_kept((int)fd, keep, n_keep)) {
            int number = (int)fd;

            g_array_append_val(doomed, number);
        }
    }
    closedir(dir);
    for (guint i = 0; i < doomed->len; i++) {
        close(g_array_index(doomed, int, i));
    }
}

/* Exit the way the child did. */
static void parent_exit_as_child(pid_t child, bool interrupted)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (interrupted) {
        _exit(EXIT_INTERRUPT);
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "sluicefs: the daemon was ended by signal %d (%s) before it served\n",
                WTERMSIG(status), strsignal(WTERMSIG(status)));
        _exit(EXIT_BUG);
    }
    _exit(WEXITSTATUS(status) == 0 ? EXIT_SYSTEM : WEXITSTATUS(status));
}

static void parent_wait(pid_t child, int pipe_fd, int signal_fd) G_GNUC_NORETURN;
static void parent_wait(pid_t child, int pipe_fd, int signal_fd)
{
    struct pollfd fds[] = {{.fd = pipe_fd, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
    bool interrupted = false;

    for (;;) {
        char byte;

        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0) {
            continue;
        }
        if (fds[1].revents != 0) {
            struct signalfd_siginfo info;

            if (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
                kill(child, SIGTERM);
                interrupted = true;
            }
        }
        if (fds[0].revents != 0) {
            if (read(pipe_fd, &byte, 1) == 1 && !interrupted) {
                _exit(EXIT_OK);
            }
            parent_exit_as_child(child, interrupted);
        }
    }
}

static void child_enter_background(void)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (chdir("/") < 0) {
        g_warning("cannot change to the directory '/': %s", g_strerror(errno));
    }
    if (null_fd >= 0) {
        dup2(null_fd, STDIN_FILENO);
        dup2(null_fd, STDOUT_FILENO);
        if (null_fd > STDERR_FILENO) {
            close(null_fd);
        }
    }
}

bool daemonize_start(int *ready_fd, GError **error)
{
    sigset_t signals, previous;
    int pipe_fds[2], signal_fd;
    pid_t child;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &previous);
    signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (signal_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(saved),
                    "cannot go to the background: %s", g_strerror(saved));
        if (signal_fd >= 0) {
            close(signal_fd);
        }
        sigprocmask(SIG_SETMASK, &previous, NULL);
        return false;
    }

    child = fork();
    if (child < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(saved),
                    "cannot go to the background: fork: %s", g_strerror(saved));
        close(signal_fd);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        sigprocmask(SIG_SETMASK, &previous, NULL);
        return false;
    }
    if (child > 0) {
        close(pipe_fds[1]);
        parent_wait(child, pipe_fds[0], signal_fd);
    }

    close(pipe_fds[0]);
    close(signal_fd);
    sigprocmask(SIG_SETMASK, &previous, NULL);
    child_enter_background();
    *ready_fd = pipe_fds[1];
    return true;
}

void daemonize_ready(int ready_fd, bool keep_stderr)
{
    int null_fd = keep_stderr ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
    ssize_t written;

    if (null_fd >= 0) {
        dup2(null_fd, STDERR_FILENO);
        close(null_fd);
    }
    /* A parent that is gone does not need to know. */
    do {
        written = write(ready_fd, "", 1);
    } while (written < 0 && errno == EINTR);
    close(ready_fd);
}

void daemonize_notify(const char *state)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length;
    int fd;

    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof(address.sun_path)) {
        return;
    }
    memcpy(address.sun_path, path, strlen(path));
    length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* abstract name */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0) {
        g_warning("cannot notify the service manager at '%s': %s", path, g_strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}
