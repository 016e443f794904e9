/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A sub-command: one file that defines it, one entry in command.c. */
#ifndef SLUICE_TOOLS_COMMAND_H
#define SLUICE_TOOLS_COMMAND_H

#include "tools/sluicefs/options.h"

/**
 * Exit status, as mount(8) has it; bits, so that several can be reported.
 * 0 is success.
 */
typedef enum ExitStatus {
    EXIT_OK = 0,
    EXIT_USAGE = 1,        /**< wrong usage, or not permitted */
    EXIT_SYSTEM = 2,       /**< system error: memory, fork, connection aborted */
    EXIT_BUG = 4,          /**< internal error */
    EXIT_INTERRUPT = 8,    /**< interrupted by the user */
    EXIT_FAILED = 32,      /**< mount, unmount or check failed */
    EXIT_SOME_FAILED = 64, /**< some of several succeeded */
} ExitStatus;

typedef struct Command {
    const char *name;      /**< NULL ends the table */
    const char *arguments; /**< how usage shows them: "SRC MNT" */
    unsigned min_arguments;
    unsigned max_arguments;
    unsigned groups;         /**< OptionGroup bits */
    const char *summary;     /**< half a line, for the list of commands */
    const char *description; /**< sentences for --help */
    /** Do it. @options: parsed, help and argument count already handled. */
    int (*run)(Options *options);
} Command;

extern const Command command_table[];

/** The command called @name, or NULL. */
const Command *command_find(const char *name);

/** The nearest command name to @name, or NULL. */
const char *command_nearest(const char *name);

/** Parse @argv for @command and run it. Returns the exit status. */
int command_main(const Command *command, int argc, char *const *argv);

/** Run @command with @options that have been parsed and counted. Returns the exit status. */
int command_start(const Command *command, Options *options);

/** Print "sluicefs: MESSAGE" and how to get help; returns EXIT_USAGE. */
int command_usage_error(const Command *command, const char *format, ...) G_GNUC_PRINTF(2, 3);

/** The run functions, each in the file of its name. */
int passthrough_run(Options *options);
int disk_run(Options *options);
int image_run(Options *options);
int null_run(Options *options);
int umount_run(Options *options);
int check_run(Options *options);
int status_run(Options *options);
int stats_run(Options *options);

#endif /* SLUICE_TOOLS_COMMAND_H */
