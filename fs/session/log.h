/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** libfuse's messages: to GLib's log, or into an error. */
#ifndef SLUICE_FS_SESSION_LOG_H
#define SLUICE_FS_SESSION_LOG_H

#include <glib.h>

/** Send libfuse's messages to GLib's log. Process-wide; idempotent. Main thread. */
void fs_log_install(void);

/** Collect the calling thread's messages from now on instead. */
void fs_log_capture_begin(void);

/** End it; what was said, without "fuse: " and newlines. Free with g_free(). */
char *fs_log_capture_end(void);

#endif /* SLUICE_FS_SESSION_LOG_H */
