/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Shell completion, made from the tables of commands and options. */
#ifndef SLUICE_TOOLS_COMPLETION_H
#define SLUICE_TOOLS_COMPLETION_H

/** A bash-completion script. Free with g_free(). */
char *completion_bash(void);

#endif /* SLUICE_TOOLS_COMPLETION_H */
