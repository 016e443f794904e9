/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfuse's messages: to GLib's log, or into an error.
 *
 * libfuse says why a mount failed through its log only. Its log function is
 * one for the process and has no user data; hence the thread-local buffer.
 */
#include "fs/session/log.h"

#include <fuse_log.h>

static _Thread_local GString *captured;

static GLogLevelFlags glib_level(enum fuse_log_level level)
{
    switch (level) {
    case FUSE_LOG_EMERG:
    case FUSE_LOG_ALERT:
    case FUSE_LOG_CRIT:
    case FUSE_LOG_ERR:
    case FUSE_LOG_WARNING:
        return G_LOG_LEVEL_WARNING;
    case FUSE_LOG_NOTICE:
        return G_LOG_LEVEL_MESSAGE;
    case FUSE_LOG_INFO:
        return G_LOG_LEVEL_INFO;
    case FUSE_LOG_DEBUG:
    default:
        return G_LOG_LEVEL_DEBUG;
    }
}

static G_GNUC_PRINTF(2, 0) void log_message(enum fuse_log_level level, const char *format,
                                            va_list arguments)
{
    g_autofree char *text = g_strdup_vprintf(format, arguments);

    g_strchomp(text);
    if (captured == NULL) {
        g_log(G_LOG_DOMAIN, glib_level(level), "%s", text);
        return;
    }
    const char *said = g_str_has_prefix(text, "fuse: ") ? text + strlen("fuse: ") : text;
    if (captured->len > 0) {
        g_string_append(captured, "; ");
    }
    g_string_append(captured, said);
}

void fs_log_install(void)
{
    fuse_set_log_func(log_message);
}

void fs_log_capture_begin(void)
{
    captured = g_string_new(NULL);
}

char *fs_log_capture_end(void)
{
    char *text = g_string_free(captured, FALSE);
    captured = NULL;
    return text;
}
