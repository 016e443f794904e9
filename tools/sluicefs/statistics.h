/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The counters of a session as text. */
#ifndef SLUICE_TOOLS_STATISTICS_H
#define SLUICE_TOOLS_STATISTICS_H

#include <glib.h>

#include "fs/session/session.h"

/** Append one line "name value\n" for each counter of @session. */
void statistics_append_session(GString *out, FsSession *session);

/** Append "name value\n". */
void statistics_append(GString *out, const char *name, guint64 value);

/** Log each line of @text. */
void statistics_log(const char *text);

#endif /* SLUICE_TOOLS_STATISTICS_H */
