/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Usage texts, made from the tables of commands and options. */
#include "tools/sluicefs/help.h"

#include <string.h>

#define WIDTH  80 /* columns of a terminal that has not been asked */
#define INDENT 26 /* where explanations begin */

/* Print @text wrapped, from column INDENT; the cursor is at @column. */
static void print_wrapped(FILE *out, int column, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);

    if (column >= INDENT - 1) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", INDENT - column, "");
    column = INDENT;
    for (char **word = words; *word != NULL; word++) {
        int length = (int)strlen(*word);

        if (column > INDENT && column + 1 + length > WIDTH) {
            fprintf(out, "\n%*s", INDENT, "");
            column = INDENT;
        } else if (column > INDENT) {
            fputc(' ', out);
            column++;
        }
        fputs(*word, out);
        column += length;
    }
    fputc('\n', out);
}

/* "-o, --options=LIST" */
static char *option_heading(const OptionSpec *spec)
{
    GString *heading = g_string_new(NULL);

    if (spec->kind == OPTION_LIST) {
        g_string_append_printf(heading, "-%c %s", spec->letter, spec->argument);
        return g_string_free(heading, FALSE);
    }
    if (spec->letter != 0) {
        g_string_append_printf(heading, "-%c, ", spec->letter);
    }
    g_string_append_printf(heading, "--%s", spec->name);
    if (spec->argument != NULL) {
        g_string_append_printf(heading, "=%s", spec->argument);
    }
    return g_string_free(heading, FALSE);
}

static char *option_text(const OptionSpec *spec)
{
    if (spec->initial == NULL) {
        return g_strdup(spec->help);
    }
    return g_strdup_printf("%s Default: %s.", spec->help, spec->initial);
}

static void print_options(unsigned groups, FILE *out)
{
    unsigned group = 0;

    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        g_autofree char *heading = NULL, *text = NULL;

        if ((spec->group & groups) == 0) {
            continue;
        }
        if (spec->group != group) {
            group = spec->group;
            fprintf(out, "\n%s options:\n", option_group_title(spec->group));
        }
        heading = option_heading(spec);
        text = option_text(spec);
        print_wrapped(out, fprintf(out, "  %s", heading), text);
    }
}

static void print_mount_words(FILE *out)
{
    g_autoptr(GString) words = g_string_new(NULL);

    for (const MountWord *word = mount_word_table; word->name != NULL; word++) {
        g_string_append_printf(words, "%s%s", words->len > 0 ? " " : "", word->name);
    }
    fputs("\nMount words, for -o only:\n", out);
    print_wrapped(out, 0, words->str);
}

void help_print_overview(FILE *out)
{
    fputs("sluicefs: serve directories and images as FUSE file systems through io_uring\n\n"
          "Usage:\n"
          "  sluicefs COMMAND [OPTION...] ARGUMENT...\n"
          "  sluicefs SRC MNT [-o LIST]\n"
          "  mount -t fuse.sluicefs SRC MNT [-o LIST]\n\n"
          "Commands:\n",
          out);
    for (const Command *command = command_table; command->name != NULL; command++) {
        print_wrapped(out, fprintf(out, "  %s %s", command->name, command->arguments),
                      command->summary);
    }
    fputs("\n'sluicefs COMMAND --help' shows the options of a command.\n", out);
}

void help_print_command(const Command *command, FILE *out)
{
    g_auto(GStrv) words = g_strsplit(command->description, " ", -1);
    int column = 0;

    fprintf(out, "Usage: sluicefs %s [OPTION...]%s%s\n\n", command->name,
            command->arguments[0] == '\0' ? "" : " ", command->arguments);
    for (char **word = words; *word != NULL; word++) {
        int length = (int)strlen(*word);

        if (column > 0 && column + 1 + length > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += fprintf(out, "%s%s", column > 0 ? " " : "", *word);
    }
    fputc('\n', out);
    print_options(command->groups, out);
    if ((command->groups & OPTION_GROUP_MOUNT) != 0) {
        print_mount_words(out);
        fputs(
            "\nEvery option can also be given to -o without its dashes: -o threads=2,log=syslog\n",
            out);
    }
}

void help_print_version(FILE *out)
{
    fprintf(out, "sluicefs %s\n", SLUICE_VERSION);
}

/* Escape what scdoc would take as markup. */
static char *scdoc_escape(const char *text)
{
    GString *out = g_string_new(NULL);

    for (; *text != '\0'; text++) {
        if (strchr("_*\\#~`", *text) != NULL) {
            g_string_append_c(out, '\\');
        }
        g_string_append_c(out, *text);
    }
    return g_string_free(out, FALSE);
}

char *help_options_scdoc(unsigned groups)
{
    GString *out = g_string_new(NULL);
    unsigned group = 0;

    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        g_autofree char *text = NULL, *plain_text = NULL;

        if ((spec->group & groups) == 0) {
            continue;
        }
        if (spec->group != group) {
            group = spec->group;
            g_string_append_printf(out, "## %s\n\n", option_group_title(spec->group));
        }
        plain_text = option_text(spec);
        text = scdoc_escape(plain_text);
        if (spec->kind == OPTION_LIST) {
            g_string_append_printf(out, "*-%c* _%s_\n", spec->letter, spec->argument);
        } else {
            if (spec->letter != 0) {
                g_string_append_printf(out, "*-%c*, ", spec->letter);
            }
            g_string_append_printf(out, "*--%s*", spec->name);
            if (spec->argument != NULL) {
                g_string_append_printf(out, "=_%s_", spec->argument);
            }
            g_string_append_c(out, '\n');
        }
        g_string_append_printf(out, "\t%s\n\n", text);
    }
    return g_string_free(out, FALSE);
}

char *help_mount_words_scdoc(void)
{
    GString *out = g_string_new(NULL);

    /* Words with the same explanation that follow each other share a paragraph. */
    for (const MountWord *word = mount_word_table; word->name != NULL; word++) {
        g_autofree char *name = scdoc_escape(word->name);
        g_autofree char *text = scdoc_escape(word->help);
        bool last = word[1].name == NULL || strcmp(word[1].help, word->help) != 0;

        g_string_append_printf(out, "*%s*", name);
        if (last) {
            g_string_append_printf(out, "\n\t%s\n\n", text);
        } else {
            g_string_append(out, ", ");
        }
    }
    return g_string_free(out, FALSE);
}

char *help_commands_scdoc(void)
{
    GString *out = g_string_new(NULL);

    for (const Command *command = command_table; command->name != NULL; command++) {
        g_autofree char *text = scdoc_escape(command->description);

        g_string_append_printf(out, "*sluicefs %s*%s%s%s\n\t%s\n\n", command->name,
                               command->arguments[0] == '\0' ? "" : " _", command->arguments,
                               command->arguments[0] == '\0' ? "" : "_", text);
    }
    return g_string_free(out, FALSE);
}
