/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Who may use an image at the same time. */
#ifndef SLUICE_FS_BLOCK_IMAGE_LOCK_H
#define SLUICE_FS_BLOCK_IMAGE_LOCK_H

#include <stdbool.h>

#include <glib.h>

/**
 * Lock the image open at @fd, for its open file description: a writer excludes
 * everybody, readers exclude writers. The lock ends with the last descriptor of
 * @fd's file description. Waits up to @wait_seconds for others to finish. An error
 * says who has it, where that can be known. A file that cannot be locked is a
 * warning. @name is for messages.
 */
bool block_image_lock(int fd, const char *name, bool writer, double wait_seconds,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_FS_BLOCK_IMAGE_LOCK_H */
