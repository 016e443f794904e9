/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What every command that serves a mount has in common: go to the background,
 * build the session, run the main loop, say when it is ready, stop by signal.
 */
#ifndef SLUICE_TOOLS_SERVE_H
#define SLUICE_TOOLS_SERVE_H

#include "fs/session/session.h"
#include "tools/sluicefs/command.h"

/** What a command serves. Calls are made on the main thread of the daemon. */
typedef struct ServeBackend {
    const char *command; /**< for logs and the run-time entry */
    const FsFilesystem *(*filesystem)(void);
    /**
     * Open what is served, in the process that serves, before the mount
     * exists. Returns the file system's userdata, NULL with @error.
     */
    void *(*open)(const Options *options, const char *source, GError **error);
    /** Tell it its session, before that starts. May be NULL. */
    void (*attach)(void *userdata, FsSession *session);
    /** The mount serves. May be NULL. */
    void (*ready)(void *userdata);
    /** Append lines "name value\n" to @out. May be NULL. */
    void (*append_stats)(void *userdata, GString *out);
    /**
     * Make durable what was written, after the session has been freed and before close. May be
     * NULL. false with @error if something is lost.
     */
    bool (*finish)(void *userdata, GError **error);
    /** Close it. */
    void (*close)(void *userdata);
} ServeBackend;

/**
 * Mount and serve until unmounted or told to stop.
 *
 * @source: resolved by the command, absolute where it is a path
 * @shown_source: as the user wrote it, for the mount table and messages
 * @mountpoint: as the user wrote it, or /dev/fd/N
 * Returns the exit status; in the background, that of the daemon's start.
 */
int serve_run(const ServeBackend *backend, Options *options, const char *source,
              const char *shown_source, const char *mountpoint);

#endif /* SLUICE_TOOLS_SERVE_H */
