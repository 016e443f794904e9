/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The control socket of a daemon: how other commands ask it questions.
 *
 * A Unix stream socket beside the run-time entry (instance.h), for the
 * daemon's user and root. A client sends one JSON object in one line, {"command": "stats"};
 * the answer is one line as well, {"ok": true, "stats": {...}} or
 * {"ok": false, "error": "..."}, and the daemon hangs up.
 */
#ifndef SLUICE_TOOLS_CONTROL_H
#define SLUICE_TOOLS_CONTROL_H

#include <sys/types.h>

#include <json-glib/json-glib.h>

typedef struct Control Control;

/**
 * What the daemon answers to @command: an object, whose ownership passes, that
 * becomes the member @command of the answer; NULL: no such command. Main thread.
 */
typedef JsonObject *ControlAnswer(const char *command, void *opaque);

/** Listen for questions about the mount with @device, in the caller's main loop. */
Control *control_new(dev_t device, ControlAnswer *answer, void *opaque,
                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Hang up on everybody and remove the socket. NULL is fine. */
void control_free(Control *control);

/**
 * Ask the daemon of the mount with @device that @owner mounted, and wait for its
 * answer, @timeout_ms at most. Returns what it answered to @command.
 */
JsonObject *control_ask(dev_t device, uid_t owner, const char *command, unsigned timeout_ms,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_TOOLS_CONTROL_H */
