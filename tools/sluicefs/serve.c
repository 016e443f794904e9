/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What every command that serves a mount has in common.
 *
 * How it works, in order:
 *  1. Still the caller's process: close inherited descriptors (background
 *     only), make every path absolute and check it, open log and pid file.
 *  2. In the background: fork (daemonize.h). From here on this is the daemon.
 *  3. The backend, signal handlers, then the session, the mount, the workers.
 *     Neither ring nor thread nor mount exists before the fork. A signal ends a
 *     backend that waits for its image; none can leave a mount behind, because
 *     then none has its default action any more.
 *  4. The main loop. The session's ready event ends the caller's wait and
 *     starts the command of --run; its ended event, together with the end of
 *     that command, ends the loop.
 *
 * Nothing here looks at the mount point after mounting: that would be a
 * request to ourselves.
 *
 * Signals: SIGINT and SIGTERM stop, the second one aborts; SIGUSR1 logs the
 * counters; SIGHUP stops in the foreground, where it means that the terminal
 * is gone, and opens the log file again in the background.
 */
#include "tools/sluicefs/serve.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib-unix.h>

#include "tools/sluicefs/control.h"
#include "tools/sluicefs/daemonize.h"
#include "tools/sluicefs/instance.h"
#include "tools/sluicefs/json-text.h"
#include "tools/sluicefs/log.h"
#include "tools/sluicefs/mount-table.h"
#include "tools/sluicefs/run-command.h"
#include "tools/sluicefs/session-params.h"
#include "tools/sluicefs/statistics.h"
#include "tools/sluicefs/uring-reason.h"

typedef struct Serve {
    const ServeBackend *backend;
    Options *options;
    const char *source, *shown_source;
    char *mountpoint; /* absolute */
    char *pid_file;   /* absolute, or NULL */
    Log *log;
    RunCommand *run; /* or NULL */

    GMainLoop *loop;
    void *userdata; /* of the backend */
    FsSession *session;
    Instance *instance;
    Control *control;
    gint64 ready_since; /* g_get_monotonic_time() */
    int parent_fd;      /* -1 in the foreground and after ready */
    bool ready, ended;
    unsigned stop_signals;
    guint signal_sources[4];
    int status; /* exit status */
} Serve;

static void report(int *status, ExitStatus bits, GError *error)
{
    g_critical("%s", error->message);
    *status |= bits;
    g_error_free(error);
}

/* The session is over and so is the command of --run: leave the loop. */
static void serve_quit_if_over(Serve *serve)
{
    if (serve->ended && (serve->run == NULL || !run_command_is_running(serve->run))) {
        g_main_loop_quit(serve->loop);
    }
}

static void serve_stop(Serve *serve)
{
    daemonize_notify("STOPPING=1");
    fs_session_stop(serve->session);
}

static void serve_command_ended(int status, void *opaque)
{
    Serve *serve = opaque;

    serve->status = status;
    if (serve->ended) {
        serve_quit_if_over(serve);
    } else {
        serve_stop(serve);
    }
}

static void serve_write_pid_file(const char *path)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        g_warning("cannot write the pid file '%s': %s", path, g_strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void serve_write_ready_fd(int fd)
{
    static const char line[] = "READY=1\n";

    if (write(fd, line, sizeof(line) - 1) != (ssize_t)sizeof(line) - 1) {
        g_warning("cannot write to the descriptor %d of --ready-fd: %s", fd, g_strerror(errno));
    }
    close(fd);
}

static void serve_notify_ready(const Serve *serve)
{
    g_autofree char *state = g_strdup_printf("READY=1\nMAINPID=%d\nSTATUS=serving %s on %s",
                                             (int)getpid(), serve->shown_source, serve->mountpoint);

    daemonize_notify(state);
}

/* N of "/dev/fd/N", or -1. */
static int fd_of_mountpoint(const char *mountpoint)
{
    gint64 fd;

    if (g_str_has_prefix(mountpoint, "/dev/fd/") &&
        g_ascii_string_to_signed(mountpoint + strlen("/dev/fd/"), 10, 0, G_MAXINT, &fd, NULL)) {
        return (int)fd;
    }
    return -1;
}

/* Who mounted for us knows where; the kernel tells. */
static void serve_find_mountpoint(Serve *serve, dev_t device)
{
    g_autoptr(MountEntry) entry = device == 0 ? NULL : mount_table_find_device(device, NULL);

    if (entry != NULL) {
        g_free(serve->mountpoint);
        serve->mountpoint = g_strdup(entry->mountpoint);
    }
}

static char *backend_lines(const Serve *serve)
{
    GString *lines = g_string_new(NULL);

    if (serve->backend->append_stats != NULL) {
        serve->backend->append_stats(serve->userdata, lines);
    }
    return g_string_free(lines, FALSE);
}

static JsonObject *status_to_json(const Serve *serve)
{
    JsonObject *object = json_object_new();
    g_autofree char *reason = NULL;
    FsTransportChoice transport = fs_session_get_transport(serve->session, &reason);
    FsSessionStats stats;

    fs_session_get_stats(serve->session, &stats);
    json_object_set_int_member(object, "pid", getpid());
    json_object_set_string_member(object, "version", SLUICE_VERSION);
    json_object_set_string_member(object, "command", serve->backend->command);
    json_text_set(object, "source", serve->shown_source);
    json_text_set(object, "mountpoint", serve->mountpoint);
    json_object_set_double_member(object, "uptime_seconds",
                                  (double)(g_get_monotonic_time() - serve->ready_since) /
                                      G_USEC_PER_SEC);
    json_object_set_int_member(object, "threads", fs_session_worker_count(serve->session));
    json_object_set_string_member(object, "transport",
                                  transport == FS_TRANSPORT_URING ? "uring" : "device");
    if (reason != NULL) {
        json_object_set_string_member(object, "transport_reason", reason);
    }
    json_object_set_int_member(object, "requests", (gint64)stats.requests);
    json_object_set_int_member(object, "in_flight", (gint64)stats.in_flight);
    return object;
}

/* Somebody asks by the control socket. */
static JsonObject *serve_answer(const char *command, void *opaque)
{
    Serve *serve = opaque;

    if (strcmp(command, "status") == 0) {
        return status_to_json(serve);
    }
    if (strcmp(command, "stats") == 0) {
        g_autofree char *lines = backend_lines(serve);
        JsonObject *object = statistics_to_json(serve->session, lines);

        json_object_set_object_member(object, "status", status_to_json(serve));
        return object;
    }
    return NULL;
}

/* How other commands find this daemon and talk to it; it serves without as well. */
static void serve_register(Serve *serve, dev_t device)
{
    g_autoptr(GError) error = NULL;

    serve->instance = instance_register(device, serve->backend->command, serve->shown_source,
                                        serve->mountpoint, &error);
    if (serve->instance == NULL) {
        g_warning("'sluicefs umount' will not find this daemon: %s", error->message);
        return;
    }
    serve->control = control_new(device, serve_answer, serve, &error);
    if (serve->control == NULL) {
        g_warning("'sluicefs stats' will not reach this daemon: %s", error->message);
    }
}

/* Session event: INIT is done. */
static void serve_ready(FsSession *session, void *opaque)
{
    Serve *serve = opaque;
    dev_t device = fs_session_device(session);
    GError *error = NULL;

    serve->ready = true;
    if (fd_of_mountpoint(serve->mountpoint) >= 0) {
        serve_find_mountpoint(serve, device);
    }
    serve->ready_since = g_get_monotonic_time();
    if (serve->backend->ready != NULL) {
        serve->backend->ready(serve->userdata);
    }
    if (device != 0) {
        serve_register(serve, device);
    }
    if (serve->pid_file != NULL) {
        serve_write_pid_file(serve->pid_file);
    }
    g_message("serving '%s' on '%s'", serve->shown_source, serve->mountpoint);
    log_end_startup(serve->log);
    if (serve->options->ready_fd >= 0) {
        serve_write_ready_fd(serve->options->ready_fd);
    }
    serve_notify_ready(serve);
    if (serve->parent_fd >= 0) {
        daemonize_ready(serve->parent_fd, g_strcmp0(serve->options->log, "stderr") == 0);
        serve->parent_fd = -1;
    }
    if (serve->run == NULL) {
        return;
    }
    if (serve->stop_signals > 0) {
        serve->status |= EXIT_INTERRUPT; /* before the command could begin */
    } else if (!run_command_start(serve->run, serve->mountpoint, serve_command_ended, serve,
                                  &error)) {
        report(&serve->status, EXIT_SYSTEM, error);
        serve_stop(serve);
    }
}

/* Session event: the mount is gone. */
static void serve_ended(FsSession *session, int error, void *opaque)
{
    Serve *serve = opaque;

    serve->ended = true;
    if (error != 0) {
        g_critical("the mount on '%s' ended: %s", serve->mountpoint, g_strerror(error));
        if (serve->status == EXIT_OK) {
            serve->status = serve->ready ? EXIT_SYSTEM : EXIT_FAILED;
        }
    } else if (!serve->ready) {
        if (serve->stop_signals == 0) {
            g_critical("'%s' was unmounted before it served", serve->mountpoint);
        }
        serve->status |= serve->stop_signals > 0 ? EXIT_INTERRUPT : EXIT_FAILED;
    }
    serve_quit_if_over(serve);
}

static void serve_stop_signal(Serve *serve, int number)
{
    serve->stop_signals++;
    if (serve->stop_signals > 1) {
        g_warning("stopping at once");
        if (serve->run != NULL) {
            run_command_kill(serve->run, SIGKILL);
        }
        fs_session_abort(serve->session);
    } else if (serve->run != NULL && run_command_is_running(serve->run)) {
        run_command_kill(serve->run, number); /* its end stops the session */
    } else {
        g_message("stopping on signal %d", number);
        serve_stop(serve);
    }
}

static gboolean serve_on_term(gpointer opaque)
{
    serve_stop_signal(opaque, SIGTERM);
    return G_SOURCE_CONTINUE;
}

static gboolean serve_on_int(gpointer opaque)
{
    serve_stop_signal(opaque, SIGINT);
    return G_SOURCE_CONTINUE;
}

static gboolean serve_on_hup(gpointer opaque)
{
    Serve *serve = opaque;

    if (serve->options->foreground) {
        serve_stop_signal(serve, SIGHUP);
    } else {
        log_reopen(serve->log);
    }
    return G_SOURCE_CONTINUE;
}

static void serve_log_statistics(Serve *serve)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *lines = backend_lines(serve);

    statistics_append_session(text, serve->session);
    g_string_append(text, lines);
    statistics_log(text->str);
}

static gboolean serve_on_usr1(gpointer opaque)
{
    serve_log_statistics(opaque);
    return G_SOURCE_CONTINUE;
}

/* Without io_uring everything works, but not as fast: say so once, and why. */
static void log_missing_uring(void)
{
    AioRingProbe probe;

    aio_ring_probe(&probe);
    if (!probe.available) {
        g_autofree char *reason = uring_reason_explain(probe.error);

        g_message("no io_uring, working with helper threads (%s)", reason);
    }
}

/* Whoever started us wants that it does not end us: nohup, or a shell without job control. */
static bool is_ignored(int number)
{
    struct sigaction action;

    return (number == SIGHUP || number == SIGINT) && sigaction(number, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

static void add_signal_sources(Serve *serve)
{
    const GSourceFunc handlers[] = {serve_on_term, serve_on_int, serve_on_hup, serve_on_usr1};
    const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

    static_assert(G_N_ELEMENTS(numbers) == G_N_ELEMENTS(serve->signal_sources), "one source each");
    for (size_t i = 0; i < G_N_ELEMENTS(handlers); i++) {
        if (!is_ignored(numbers[i])) {
            serve->signal_sources[i] = g_unix_signal_add(numbers[i], handlers[i], serve);
        }
    }
}

/* After everything is written, for then signals have their default action again. */
static void remove_signal_sources(Serve *serve)
{
    for (size_t i = 0; i < G_N_ELEMENTS(serve->signal_sources); i++) {
        if (serve->signal_sources[i] != 0) {
            g_source_remove(serve->signal_sources[i]);
        }
    }
}

/* Backend, session, mount, workers. */
static bool serve_start(Serve *serve, GError **error)
{
    const Options *options = serve->options;
    g_autofree char *mount_options = session_params_mount_options(options);
    FsSessionParams params;

    if (options->io_engine == ENGINE_AUTO) {
        log_missing_uring();
    }
    serve->userdata = serve->backend->open(options, serve->source, error);
    if (serve->userdata == NULL) {
        return false;
    }
    add_signal_sources(serve);
    session_params_init(&params, options);
    params.filesystem = serve->backend->filesystem();
    params.userdata = serve->userdata;
    params.mountpoint = serve->mountpoint;
    params.source = options->fsname != NULL ? options->fsname : serve->shown_source;
    params.mount_options = mount_options;
    params.ready = serve_ready;
    params.ended = serve_ended;
    params.opaque = serve;

    serve->session = fs_session_new(&params, error);
    if (serve->session == NULL) {
        return false;
    }
    if (serve->backend->attach != NULL) {
        serve->backend->attach(serve->userdata, serve->session);
    }
    return fs_session_mount(serve->session, error) && fs_session_start(serve->session, error);
}

/* The daemon's life, from an empty process to its exit status. */
static int serve_main(Serve *serve)
{
    GError *error = NULL;

    signal(SIGPIPE, SIG_IGN);
    serve->loop = g_main_loop_new(NULL, FALSE);
    if (serve_start(serve, &error)) {
        g_main_loop_run(serve->loop);
        if (serve->options->stats) {
            serve_log_statistics(serve);
        }
    } else {
        report(&serve->status, EXIT_FAILED, error);
    }

    control_free(serve->control);
    if (serve->session != NULL) {
        fs_session_free(serve->session);
    }
    if (serve->userdata != NULL) {
        if (serve->backend->finish != NULL && !serve->backend->finish(serve->userdata, &error)) {
            instance_report_loss(serve->instance, error->message);
            report(&serve->status, EXIT_FAILED, error);
        }
        serve->backend->close(serve->userdata);
    }
    remove_signal_sources(serve);
    if (serve->ready && serve->pid_file != NULL) {
        unlink(serve->pid_file);
    }
    instance_unregister(serve->instance);
    g_main_loop_unref(serve->loop);
    return serve->status;
}

/* The absolute path of an existing directory to mount on. */
static char *resolve_mountpoint(const char *mountpoint, GError **error)
{
    const char *advice = "";
    char *path;
    struct stat st;
    int fd = fd_of_mountpoint(mountpoint);

    if (fd >= 0) {
        /* The command of --run must not keep the connection open. */
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) {
            return g_strdup(mountpoint);
        }
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "cannot mount on '%s': that descriptor is not open", mountpoint);
        return NULL;
    }
    path = realpath(mountpoint, NULL);
    if (path != NULL && stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            return path;
        }
        errno = ENOTDIR;
    }
    if (errno == ENOENT) {
        advice = " (create the directory first)";
    } else if (errno == ENOTDIR) {
        advice = " (a mount point must be a directory)";
    } else if (errno == ENOTCONN || errno == ECONNABORTED) {
        advice = " (a mount whose daemon is dead is still there: 'sluicefs umount' it first)";
    } else if (errno == EACCES) {
        advice = " (a directory on the way, or a mount of another user, cannot be entered)";
    }
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno), "cannot mount on '%s': %s%s",
                mountpoint, g_strerror(errno), advice);
    free(path);
    return NULL;
}

static void close_inherited(const Options *options, const char *mountpoint)
{
    const int keep[] = {options->ready_fd, fd_of_mountpoint(mountpoint)};

    daemonize_close_inherited(keep, G_N_ELEMENTS(keep));
}

/* What --log means, as a path if it is a file. */
static char *absolute_log_target(const Options *options)
{
    if (options->log == NULL) {
        return g_strdup(options->foreground ? "stderr" : "syslog");
    }
    if (strcmp(options->log, "stderr") == 0 || strcmp(options->log, "syslog") == 0) {
        return g_strdup(options->log);
    }
    return g_canonicalize_filename(options->log, NULL);
}

/* Everything that can be checked before the fork. */
static bool serve_prepare(Serve *serve, const char *mountpoint, GError **error)
{
    Options *options = serve->options;
    g_autofree char *log_target = absolute_log_target(options);

    /* Before anything of ours is opened, which might get that number. */
    if (options->ready_fd >= 0 && fcntl(options->ready_fd, F_SETFD, FD_CLOEXEC) < 0) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "the descriptor %d of --ready-fd is not open", options->ready_fd);
        return false;
    }
    if (!log_set_target(serve->log, log_target, error)) {
        return false;
    }
    if (options->pid_file != NULL) {
        g_autofree char *directory = NULL;

        serve->pid_file = g_canonicalize_filename(options->pid_file, NULL);
        directory = g_path_get_dirname(serve->pid_file);
        if (access(directory, W_OK) < 0) {
            g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                        "cannot write the pid file '%s': %s", serve->pid_file, g_strerror(errno));
            return false;
        }
    }
    serve->mountpoint = resolve_mountpoint(mountpoint, error);
    return serve->mountpoint != NULL;
}

int serve_run(const ServeBackend *backend, Options *options, const char *source,
              const char *shown_source, const char *mountpoint)
{
    Serve serve = {
        .backend = backend,
        .options = options,
        .source = source,
        .shown_source = shown_source,
        .parent_fd = -1,
    };
    GError *error = NULL;

    if (!options->foreground) {
        close_inherited(options, mountpoint);
    }
    serve.log = log_new((LevelChoice)options->log_level);
    if (!serve_prepare(&serve, mountpoint, &error)) {
        report(&serve.status,
               g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE) ? EXIT_USAGE
                                                                                : EXIT_FAILED,
               error);
    } else if (!options->foreground && !daemonize_start(&serve.parent_fd, &error)) {
        report(&serve.status, EXIT_SYSTEM, error);
    } else {
        serve.run = options->run == NULL ? NULL : run_command_new(options->run);
        serve.status = serve_main(&serve);
        run_command_free(serve.run);
    }
    g_free(serve.mountpoint);
    g_free(serve.pid_file);
    return serve.status;
}
