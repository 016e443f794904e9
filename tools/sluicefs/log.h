/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Where messages go: standard error, the system log or a file. */
#ifndef SLUICE_TOOLS_LOG_H
#define SLUICE_TOOLS_LOG_H

#include <stdbool.h>

#include <glib.h>

#include "tools/sluicefs/option-table.h"

typedef struct Log Log;

/**
 * Take over GLib's messages (g_warning() and its like) and show what is at
 * least as important as @level on standard error. Once per process; the log
 * lives as long as the process.
 */
Log *log_new(LevelChoice level);

/**
 * Send messages to @target: "stderr", "syslog" or the absolute path of a file
 * to append to. Until log_end_startup(), warnings and errors also go to
 * standard error.
 */
bool log_set_target(Log *log, const char *target, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The caller has been told how the start went: standard error is left alone. */
void log_end_startup(Log *log);

/** Open the file again after it was moved away; nothing for other targets. */
void log_reopen(Log *log);

#endif /* SLUICE_TOOLS_LOG_H */
