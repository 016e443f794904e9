/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The command of --run: a child that uses the mount.
 *
 * How it works: workers already exist, so between fork and exec the child
 * only makes async-signal-safe calls. It gets back the umask, the limits and
 * the signal dispositions that serving has changed.
 */
#include "tools/sluicefs/run-command.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gio/gio.h>

struct RunCommand {
    char *command;
    mode_t mask;
    sigset_t ignored; /* by whoever started us, as nohup does */
    struct rlimit open_files, file_size;
    pid_t pid; /* 0: not running */
    guint watch;
    void (*ended)(int status, void *opaque);
    void *opaque;
};

RunCommand *run_command_new(const char *command)
{
    RunCommand *run = g_new0(RunCommand, 1);

    run->command = g_strdup(command);
    run->mask = umask(0);
    umask(run->mask);
    getrlimit(RLIMIT_NOFILE, &run->open_files);
    getrlimit(RLIMIT_FSIZE, &run->file_size);
    sigemptyset(&run->ignored);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;

        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN) {
            sigaddset(&run->ignored, number);
        }
    }
    return run;
}

void run_command_free(RunCommand *run)
{
    if (run == NULL) {
        return;
    }
    if (run->watch != 0) {
        g_source_remove(run->watch);
    }
    g_free(run->command);
    g_free(run);
}

static void run_command_exited(GPid pid, gint wait_status, gpointer opaque)
{
    RunCommand *run = opaque;

    run->pid = 0;
    run->watch = 0;
    run->ended(WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
               run->opaque);
}

static void child_exec(const RunCommand *run, char *const *argv,
                       char *const *environment) G_GNUC_NORETURN;
static void child_exec(const RunCommand *run, char *const *argv, char *const *environment)
{
    static const char message[] = "sluicefs: cannot run /bin/sh\n";
    sigset_t none;
    ssize_t ignored;

    for (int number = 1; number < NSIG; number++) {
        signal(number, sigismember(&run->ignored, number) == 1 ? SIG_IGN : SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(run->mask);
    setrlimit(RLIMIT_NOFILE, &run->open_files);
    setrlimit(RLIMIT_FSIZE, &run->file_size);
    execve("/bin/sh", argv, environment);
    ignored = write(STDERR_FILENO, message, sizeof(message) - 1);
    (void)ignored;
    _exit(127);
}

bool run_command_start(RunCommand *run, const char *mountpoint,
                       void (*ended)(int status, void *opaque), void *opaque, GError **error)
{
    char *argv[] = {(char *)"sh", (char *)"-c", run->command, NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "MNT", mountpoint, TRUE);
    pid_t pid = fork();

    if (pid < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                    "cannot run the command of --run: fork: %s", g_strerror(errno));
        return false;
    }
    if (pid == 0) {
        child_exec(run, argv, environment);
    }
    run->pid = pid;
    run->ended = ended;
    run->opaque = opaque;
    run->watch = g_child_watch_add(pid, run_command_exited, run);
    return true;
}

bool run_command_is_running(const RunCommand *run)
{
    return run->pid != 0;
}

void run_command_kill(RunCommand *run, int signal_number)
{
    if (run->pid != 0) {
        kill(run->pid, signal_number);
    }
}
