/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs: from the name it was called by and the first word to a command. */
#include <locale.h>
#include <string.h>

#include "aio/pool.h"
#include "tools/sluicefs/command.h"
#include "tools/sluicefs/daemonize.h"
#include "tools/sluicefs/help.h"
#include "tools/sluicefs/mount-helper.h"

/* @words: of the command line, @name included; two could be SRC and MNT. */
static int unknown_command(const char *name, int words)
{
    const char *nearest = command_nearest(name);

    if (nearest != NULL) {
        return command_usage_error(NULL, "unknown command '%s' (did you mean '%s'?)", name,
                                   nearest);
    }
    return command_usage_error(NULL, "unknown command '%s'%s", name,
                               words == 2 ? ", and no such file or directory to serve" : "");
}

static int help_command(int argc, char **argv)
{
    const Command *command = argc > 0 ? command_find(argv[0]) : NULL;

    if (command != NULL) {
        help_print_command(command, stdout);
    } else if (argc > 0) {
        return unknown_command(argv[0], 1);
    } else {
        help_print_overview(stdout);
    }
    return EXIT_OK;
}

static int run(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    const Command *command;

    if (g_str_has_prefix(name, "mount.")) {
        return mount_helper_main(argc - 1, argv + 1);
    }
    if (argc < 2) {
        help_print_overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return help_command(0, NULL);
    }
    if (strcmp(argv[1], "help") == 0) {
        return help_command(argc - 2, argv + 2);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        help_print_version(stdout);
        return EXIT_OK;
    }
    command = command_find(argv[1]);
    if (command != NULL) {
        return command_main(command, argc - 2, argv + 2);
    }
    if (mount_helper_is_short_form(argc - 1, argv + 1)) {
        return mount_helper_short_form(argc - 1, argv + 1);
    }
    if (argv[1][0] == '-') {
        return command_usage_error(NULL, "a command is needed before the option '%s'", argv[1]);
    }
    return unknown_command(argv[1], mount_helper_count_words(argc - 1, argv + 1));
}

int main(int argc, char **argv)
{
    int status;

    daemonize_open_standard();
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C");
    status = run(argc, argv);
    aio_pool_shared_fini(); /* every context is gone by now */
    return status;
}
