/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The command of --run: a child that uses the mount. */
#ifndef SLUICE_TOOLS_RUN_COMMAND_H
#define SLUICE_TOOLS_RUN_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

#include <glib.h>

typedef struct RunCommand RunCommand;

/** Remember what the command shall inherit: umask and limits as they are now. */
RunCommand *run_command_new(const char *command);
void run_command_free(RunCommand *run);

/**
 * Start the command by /bin/sh with $MNT set. @ended is called on the main
 * loop with its status, in the way of a shell: 128 + N for signal N.
 */
bool run_command_start(RunCommand *run, const char *mountpoint,
                       void (*ended)(int status, void *opaque), void *opaque,
                       GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Whether it was started and has not ended. */
bool run_command_is_running(const RunCommand *run);

/** Send it a signal, if it runs. */
void run_command_kill(RunCommand *run, int signal_number);

#endif /* SLUICE_TOOLS_RUN_COMMAND_H */
