/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The table of sub-commands, and how one is called. */
#include "tools/sluicefs/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/sluicefs/help.h"
#include "tools/sluicefs/mount-table.h"

const Command command_table[] = {
    {"passthrough", "SRC MNT", 1, 2, OPTION_GROUPS_SERVE | OPTION_GROUP_DIRECTORY,
     "serve a directory",
     "Mount the directory SRC on the directory MNT. With -o source=DIR the only argument is MNT.",
     passthrough_run},
    {"disk", "DISK MNT", 1, 2,
     OPTION_GROUPS_SERVE | OPTION_GROUP_LIST | OPTION_GROUP_DISK | OPTION_GROUP_CHECK,
     "serve a disk image as a directory of its partitions",
     "Show the disk image or block device DISK in the directory MNT: the file disk, which is the "
     "whole, part1, part2, ..., and links to these by label and UUID.",
     disk_run},
    {"image", "IMG MNT", 1, 2, OPTION_GROUPS_SERVE | OPTION_GROUP_DISK | OPTION_GROUP_IMAGE,
     "serve the files inside of a disk image",
     "Show the files of the ext2, ext3 or ext4 file system in the disk image or block device IMG "
     "in the directory MNT, read-only.",
     image_run},
    {"null", "MNT", 1, 1, OPTION_GROUPS_SERVE, "serve nothing, to measure FUSE itself",
     "Mount on MNT a file system without a store: what is written is dropped, what is read is "
     "zeros.",
     null_run},
    {"umount", "MNT...", 1, G_MAXUINT, OPTION_GROUP_COMMON | OPTION_GROUP_UMOUNT,
     "unmount and wait for the daemon",
     "Unmount each MNT and return when its daemon has written everything and exited.", umount_run},
    {"check", "", 0, 0, OPTION_GROUP_COMMON | OPTION_GROUP_CHECK, "show what this system offers",
     "Show what the kernel, its settings and the limits of this process offer to sluicefs, and "
     "why something is missing.",
     check_run},
    {"status", "[MNT...]", 0, G_MAXUINT, OPTION_GROUP_COMMON | OPTION_GROUP_CHECK,
     "list the mounts and their daemons",
     "Show each mount of sluicefs, or those named, with its daemon, and whether that answers.",
     status_run},
    {"stats", "[MNT]", 0, 1, OPTION_GROUP_COMMON | OPTION_GROUP_CHECK | OPTION_GROUP_STATS,
     "show what a daemon counts and how long it takes",
     "Ask the daemon of MNT for its counters and times; without MNT, of the only mount there is.",
     stats_run},
    {NULL},
};

const Command *command_find(const char *name)
{
    for (const Command *command = command_table; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

const char *command_nearest(const char *name)
{
    unsigned limit = MAX(1, (unsigned)MIN(strlen(name), 64) / 3);
    const char *nearest = NULL;

    for (const Command *command = command_table; command->name != NULL; command++) {
        unsigned distance =
            strlen(name) > 64 ? G_MAXUINT : options_edit_distance(command->name, name);

        if (distance <= limit) {
            nearest = command->name;
            limit = distance - (distance > 0);
        }
    }
    return nearest;
}

int command_usage_error(const Command *command, const char *format, ...)
{
    va_list args;

    fputs("sluicefs: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'sluicefs %s%s--help'.\n", command == NULL ? "" : command->name,
            command == NULL ? "" : " ");
    return EXIT_USAGE;
}

/* What one mount shows, the next one on the same directory hides. */
static void warn_if_covered(const char *mountpoint)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountEntry) entry = mount_table_find_path(mountpoint, &error);

    if (entry != NULL && strcmp(entry->type, "fuse.sluicefs") == 0) {
        fprintf(stderr, "sluicefs: '%s' is already a mount of sluicefs, which is covered now\n",
                mountpoint);
    }
}

int command_start(const Command *command, Options *options)
{
    const guint count = options->arguments->len;

    if ((command->groups & OPTION_GROUP_MOUNT) != 0 && count > 0 && !options->list) {
        warn_if_covered(g_ptr_array_index(options->arguments, count - 1));
    }
    return command->run(options);
}

int command_main(const Command *command, int argc, char *const *argv)
{
    g_autoptr(Options) options = options_new();
    g_autoptr(GError) error = NULL;

    if (!options_parse(options, command->groups, argc, argv, &error)) {
        return command_usage_error(command, "%s", error->message);
    }
    if (options->help) {
        help_print_command(command, stdout);
        return EXIT_OK;
    }
    if (options->version) {
        help_print_version(stdout);
        return EXIT_OK;
    }
    if (options->arguments->len < command->min_arguments) {
        return command_usage_error(command, "%s needs %s", command->name, command->arguments);
    }
    if (options->arguments->len > command->max_arguments) {
        return command_usage_error(
            command, "%s takes no argument '%s'", command->name,
            (const char *)g_ptr_array_index(options->arguments, command->max_arguments));
    }
    for (guint i = 0; i < options->arguments->len; i++) {
        const char *argument = g_ptr_array_index(options->arguments, i);

        if (argument[0] == '\0') { /* a variable that is not set; not the current directory */
            return command_usage_error(command, "argument %u is empty", i + 1);
        }
    }
    return command_start(command, options);
}
