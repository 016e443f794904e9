/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Usage texts, made from the tables of commands and options. */
#ifndef SLUICE_TOOLS_HELP_H
#define SLUICE_TOOLS_HELP_H

#include <stdio.h>

#include "tools/sluicefs/command.h"

/** "sluicefs --help": the forms and the commands. */
void help_print_overview(FILE *out);

/** "sluicefs COMMAND --help": its usage and options. */
void help_print_command(const Command *command, FILE *out);

void help_print_version(FILE *out);

/**
 * The options of @groups as a section body in scdoc syntax, for the manual.
 * Free with g_free().
 */
char *help_options_scdoc(unsigned groups);

/** The mount words, likewise. */
char *help_mount_words_scdoc(void);

/** The list of commands, likewise. */
char *help_commands_scdoc(void);

#endif /* SLUICE_TOOLS_HELP_H */
