/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Where messages go: standard error, the system log or a file.
 *
 * How it works: a GLib log writer that any thread may call. Each message is
 * one write(2) of one line, so that lines of several threads never mix. The
 * target changes only on the main thread; a lock keeps a descriptor from
 * being closed under a writer.
 */
#include "tools/sluicefs/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <gio/gio.h>

typedef enum LogKind { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE } LogKind;

struct Log {
    GMutex lock;
    LevelChoice level;
    LogKind kind;
    char *path; /* LOG_TO_FILE */
    int fd;     /* LOG_TO_FILE */
    bool starting;
};

static LevelChoice level_of(GLogLevelFlags flags)
{
    if ((flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0) {
        return LEVEL_ERROR;
    }
    if ((flags & G_LOG_LEVEL_WARNING) != 0) {
        return LEVEL_WARNING;
    }
    if ((flags & (G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO)) != 0) {
        return LEVEL_INFO;
    }
    return LEVEL_DEBUG;
}

static void write_line(int fd, const char *line)
{
    size_t length = strlen(line);

    while (write(fd, line, length) < 0 && errno == EINTR) {
    }
}

static void log_to_stderr(LevelChoice level, const char *message)
{
    static const char *const prefix[] = {"", "warning: ", "", "debug: "};
    g_autofree char *line = g_strdup_printf("sluicefs: %s%s\n", prefix[level], message);

    write_line(STDERR_FILENO, line);
}

static void log_to_file(int fd, LevelChoice level, const char *message)
{
    static const char *const name[] = {"error", "warning", "info", "debug"};
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *stamp =
        now == NULL ? g_strdup("?") : g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%f%z");
    g_autofree char *line =
        g_strdup_printf("%s sluicefs[%d] %s: %s\n", stamp, (int)getpid(), name[level], message);

    write_line(fd, line);
}

static void log_to_syslog(LevelChoice level, const char *message)
{
    static const int priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

    syslog(priority[level], "%s", message);
}

static void log_message(Log *log, LevelChoice level, const char *message)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&log->lock);

    if (level > log->level) {
        return;
    }
    switch (log->kind) {
    case LOG_TO_STDERR:
        log_to_stderr(level, message);
        return;
    case LOG_TO_SYSLOG:
        log_to_syslog(level, message);
        break;
    case LOG_TO_FILE:
        log_to_file(log->fd, level, message);
        break;
    }
    if (log->starting && level <= LEVEL_WARNING) {
        log_to_stderr(level, message);
    }
}

static GLogWriterOutput log_writer(GLogLevelFlags flags, const GLogField *fields, gsize n_fields,
                                   gpointer opaque)
{
    const char *message = "";

    for (gsize i = 0; i < n_fields; i++) {
        if (strcmp(fields[i].key, "MESSAGE") == 0) {
            message = fields[i].value;
        }
    }
    log_message(opaque, level_of(flags), message);
    return G_LOG_WRITER_HANDLED;
}

Log *log_new(LevelChoice level)
{
    Log *log = g_new0(Log, 1);

    g_mutex_init(&log->lock);
    log->level = level;
    log->fd = -1;
    log->starting = true;
    g_log_set_writer_func(log_writer, log, NULL);
    return log;
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
}

bool log_set_target(Log *log, const char *target, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&log->lock);

    if (strcmp(target, "stderr") == 0) {
        log->kind = LOG_TO_STDERR;
        return true;
    }
    if (strcmp(target, "syslog") == 0) {
        openlog("sluicefs", LOG_PID, LOG_DAEMON);
        log->kind = LOG_TO_SYSLOG;
        return true;
    }

    log->fd = open_file(target);
    if (log->fd < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(saved),
                    "cannot write the log '%s': %s", target, g_strerror(saved));
        return false;
    }
    log->path = g_strdup(target);
    log->kind = LOG_TO_FILE;
    return true;
}

void log_end_startup(Log *log)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&log->lock);

    log->starting = false;
}

void log_reopen(Log *log)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&log->lock);
    int fd;

    if (log->kind != LOG_TO_FILE) {
        return;
    }
    fd = open_file(log->path);
    if (fd >= 0) {
        close(log->fd);
        log->fd = fd;
    }
}
