/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Shell completion, made from the tables of commands and options.
 *
 * How it works: the script holds one case branch per command with its words,
 * and one per option with a fixed set of values. Everything else completes
 * file names. It needs bash alone, not the bash-completion package's helpers;
 * bash splits at '=', so "--poll=cl" arrives as three words.
 */
#include "tools/sluicefs/completion.h"

#include <glib.h>

#include "tools/sluicefs/command.h"

static void append_command_words(GString *out, const Command *command)
{
    g_string_append_printf(out, "    %s) words=\"", command->name);
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if ((spec->group & command->groups) == 0) {
            continue;
        }
        if (spec->kind == OPTION_LIST) {
            g_string_append_printf(out, "-%c ", spec->letter);
        } else {
            g_string_append_printf(out, "--%s%s ", spec->name,
                                   spec->kind == OPTION_FLAG ? "" : "=");
        }
    }
    g_string_append(out, "\" ;;\n");
}

static void append_choices(GString *out, const OptionSpec *spec)
{
    g_autofree char *choices = g_strjoinv(" ", (char **)spec->choices);

    g_string_append_printf(out, "    --%s) words=\"%s\" ;;\n", spec->name, choices);
}

static void append_list_words(GString *out)
{
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        const unsigned groups = OPTION_GROUPS_SERVE | OPTION_GROUP_DIRECTORY | OPTION_GROUP_DISK;

        if ((spec->group & groups) != 0 && option_find(groups, spec->name) == spec &&
            spec->group != OPTION_GROUP_COMMON && spec->kind != OPTION_LIST) {
            g_string_append_printf(out, "%s%s ", spec->name, spec->kind == OPTION_FLAG ? "" : "=");
        }
    }
    for (const MountWord *word = mount_word_table; word->name != NULL; word++) {
        if (!g_str_has_suffix(word->name, "*")) {
            g_string_append_printf(out, "%s ", word->name);
        }
    }
}

char *completion_bash(void)
{
    GString *out = g_string_new("# bash completion for sluicefs; generated from its option table\n"
                                "\n"
                                "_sluicefs()\n"
                                "{\n"
                                "    local current=${COMP_WORDS[COMP_CWORD]}\n"
                                "    local previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                                "    local command=${COMP_WORDS[1]} words='' prefix=''\n"
                                "\n"
                                "    COMPREPLY=()\n"
                                "    if [ \"$current\" = = ]; then\n"
                                "        current=\n"
                                "    elif [ \"$previous\" = = ]; then\n"
                                "        previous=${COMP_WORDS[COMP_CWORD-2]}\n"
                                "    fi\n"
                                "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                                "        words=\"");

    for (const Command *command = command_table; command->name != NULL; command++) {
        g_string_append_printf(out, "%s ", command->name);
    }
    g_string_append(out, "help --help --version\"\n"
                         "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                         "        [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default\n"
                         "        return\n"
                         "    fi\n"
                         "    case $previous in\n"
                         "    -o)\n"
                         "        case $current in *,*) prefix=${current%,*}, ;; esac\n"
                         "        words=\"");
    append_list_words(out);
    g_string_append(out, "\"\n"
                         "        COMPREPLY=($(compgen -P \"$prefix\" -W \"$words\" -- "
                         "\"${current##*,}\"))\n"
                         "        compopt -o nospace\n"
                         "        return ;;\n");
    for (const OptionSpec *spec = option_table; spec->name != NULL; spec++) {
        if (spec->kind == OPTION_CHOICE) {
            append_choices(out, spec);
        }
    }
    g_string_append(out, "    esac\n"
                         "    if [ -n \"$words\" ]; then\n"
                         "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                         "        return\n"
                         "    fi\n"
                         "    case $current in\n"
                         "    -*) ;;\n"
                         "    *) compopt -o default; return ;;\n"
                         "    esac\n"
                         "    case $command in\n");
    for (const Command *command = command_table; command->name != NULL; command++) {
        append_command_words(out, command);
    }
    g_string_append(out, "    *) words=\"-o\" ;;\n"
                         "    esac\n"
                         "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                         "    case ${COMPREPLY[0]-} in *=) compopt -o nospace ;; esac\n"
                         "}\n"
                         "complete -F _sluicefs sluicefs\n");
    return g_string_free(out, FALSE);
}
