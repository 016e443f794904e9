/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Going to the background, and telling others when the mount serves. */
#ifndef SLUICE_TOOLS_DAEMONIZE_H
#define SLUICE_TOOLS_DAEMONIZE_H

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

/** Open standard input, output and error on /dev/null where they are closed. */
void daemonize_open_standard(void);

/**
 * Close every descriptor from 3 upwards that is not in @keep: what a shell
 * left open (an flock'ed file, a pipe somebody waits on) must not live as
 * long as a daemon does.
 */
void daemonize_close_inherited(const int *keep, size_t n_keep);

/**
 * Fork. Returns in the child, which is the daemon to be: own session, / as
 * the working directory, standard input and output on /dev/null, standard
 * error still the caller's.
 *
 * The parent does not return. It waits and exits: 0 once the child called
 * daemonize_ready(), otherwise with the child's exit status. SIGINT, SIGTERM
 * and SIGHUP to the parent end the child and exit with EXIT_INTERRUPT.
 *
 * Before any thread exists. *@ready_fd: for daemonize_ready().
 */
bool daemonize_start(int *ready_fd, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Let the parent exit with 0. Unless @keep_stderr, let go of standard error. */
void daemonize_ready(int ready_fd, bool keep_stderr);

/**
 * Tell the service manager behind $NOTIFY_SOCKET the @state, such as
 * "READY=1"; nothing if there is none.
 */
void daemonize_notify(const char *state);

#endif /* SLUICE_TOOLS_DAEMONIZE_H */
