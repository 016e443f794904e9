/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The counters and times of a session, as lines of text or as JSON. */
#ifndef SLUICE_TOOLS_STATISTICS_H
#define SLUICE_TOOLS_STATISTICS_H

#include <glib.h>
#include <json-glib/json-glib.h>

#include "fs/session/session.h"

/** Append one line "name value\n" for each counter. */
void statistics_append_counters(GString *out, const FsSessionStats *stats);

/** The same for the sums of @session. */
void statistics_append_session(GString *out, FsSession *session);

/** Append "name value\n". */
void statistics_append(GString *out, const char *name, guint64 value);

/** Log each line of @text. */
void statistics_log(const char *text);

/**
 * An object with what the session counted since it began: "counters" (sums),
 * "workers" (each alone), "operations" (count, errors and times of each that
 * was used), and the times "queue", "backing" and "reply" (fs/session/times.h).
 * Times are in nanoseconds. @backend: lines "name value\n" of the file
 * system's own counters. Main thread.
 */
JsonObject *statistics_to_json(FsSession *session, const char *backend);

#endif /* SLUICE_TOOLS_STATISTICS_H */
