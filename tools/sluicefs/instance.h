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
 * the first of instance_directories() of its user. The text is for people.
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
 * Where entries of @owner may be, the likeliest first: /run/sluicefs for root, sluicefs in the
 * run-time directory of others, or a directory in /tmp. Free with g_strfreev().
 */
char **instance_directories(uid_t owner);

/** Where the daemon of the mount with @device listens (control.h), if it is ours. g_free(). */
char *instance_own_socket(dev_t device);

/** Where the daemon of @owner's mount with @device may listen. Free with g_strfreev(). */
char **instance_sockets(uid_t owner, dev_t device);

#endif /* SLUICE_TOOLS_INSTANCE_H */
