/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Build helper, not installed: writes the bash completion, and fills the
 * generated parts into manual pages.
 *
 *     generate-docs bash
 *     generate-docs man < page.scd.in
 *
 * In a page, a line "@options COMMAND@" becomes the command's options,
 * "@mount-words@" the words of -o, "@commands@" the list of commands.
 */
#include <stdio.h>
#include <string.h>

#include "tools/sluicefs/command.h"
#include "tools/sluicefs/completion.h"
#include "tools/sluicefs/help.h"

/* The text in place of @directive, or NULL if there is no such part. */
static char *expand(const char *directive)
{
    if (strcmp(directive, "commands") == 0) {
        return help_commands_scdoc();
    }
    if (strcmp(directive, "mount-words") == 0) {
        return help_mount_words_scdoc();
    }
    if (g_str_has_prefix(directive, "options ")) {
        const Command *command = command_find(directive + strlen("options "));

        return command == NULL ? NULL : help_options_scdoc(command->groups);
    }
    return NULL;
}

static int fill_page(void)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        g_autofree char *directive = NULL, *text = NULL;
        size_t length = strcspn(line, "\n");

        if (length < 2 || line[0] != '@' || line[length - 1] != '@') {
            fputs(line, stdout);
            continue;
        }
        directive = g_strndup(line + 1, length - 2);
        text = expand(directive);
        if (text == NULL) {
            fprintf(stderr, "generate-docs: nothing is called '%s'\n", directive);
            return 1;
        }
        g_strchomp(text);
        puts(text);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "bash") == 0) {
        g_autofree char *script = completion_bash();

        fputs(script, stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "man") == 0) {
        return fill_page();
    }
    fputs("usage: generate-docs bash | man\n", stderr);
    return 1;
}
