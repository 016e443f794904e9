/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The run-time entry of a serving daemon: how other commands find the process
 * behind a mount without a word to the mount.
 */
#ifndef SLUICE_TOOLS_INSTANCE_H
#define SLUICE_TOOLS_INSTANCE_H

#include <stdbool.h>
#include <sys/types.h>

#include <glib.h>

typedef struct Instance Instance;

/**
 * Make the entry of the mount with @device for the calling process, in
 * instance_directory() of its user. The text is for people.
 */
Instance *instance_register(dev_t device, const char *command, const char *source,
                            const char *mountpoint, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Remove the entry. NULL is fine. */
void instance_unregister(Instance *instance);

/**
 * The daemon of the mount with @device that @owner mounted.
 *
 * Returns a pidfd that the caller closes, *@pid its process; -1 without
 * @error if there is none (any more).
 */
int instance_find(dev_t device, uid_t owner, pid_t *pid, GError **error);

/**
 * /run/sluicefs for root, sluicefs in the run-time directory of others.
 * Free with g_free().
 */
char *instance_directory(uid_t owner);

/** Where the daemon of @owner's mount with @device listens (control.h). Free with g_free(). */
char *instance_socket_path(uid_t owner, dev_t device);

#endif /* SLUICE_TOOLS_INSTANCE_H */
