/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The forms without a command: mount.fuse.sluicefs and sluicefs SRC MNT. */
#ifndef SLUICE_TOOLS_MOUNT_HELPER_H
#define SLUICE_TOOLS_MOUNT_HELPER_H

#include <stdbool.h>

/** Called as mount.fuse.sluicefs by mount(8). @argv: without the program name. */
int mount_helper_main(int argc, char *const *argv);

/** How many words of @argv are neither options nor the value of -o. */
int mount_helper_count_words(int argc, char *const *argv);

/** Whether "sluicefs @argv" is the form "SRC MNT [-o LIST]". */
bool mount_helper_is_short_form(int argc, char *const *argv);

/** "sluicefs SRC MNT [-o LIST]". @argv: without the program name. */
int mount_helper_short_form(int argc, char *const *argv);

#endif /* SLUICE_TOOLS_MOUNT_HELPER_H */
