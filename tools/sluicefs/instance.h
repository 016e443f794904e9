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

/**
 * Tell those who wait for our end what is lost, and why; they need not be there yet. Before
 * instance_unregister(). NULL is fine.
 */
void instance_report_loss(Instance *instance, const char *message);

/** Remove the entry. NULL is fine. */
void instance_unregister(Instance *instance);

/**
 * The daemon of the mount with @device that @owner mounted.
 *
 * Returns a pidfd that the caller closes, *@pid its process, and *@entry_fd (unless NULL) for
 * instance_read_loss(), also closed by the caller, or -1; -1 without @error if there is no
 * daemon (any more).
 */
int instance_find(dev_t device, uid_t owner, pid_t *pid, int *entry_fd, GError **error);

/** What a daemon that has ended said is lost: g_free(). NULL: nothing. @entry_fd may be -1. */
char *instance_read_loss(int entry_fd);

/**
 * Where entries of @owner may be, the likeliest first: /run/sluicefs for root, sluicefs in the
 * run-time directory of others, or a directory in /tmp. Free with g_strfreev().
 */
char **instance_directories(uid_t owner);

/** Where the daemon of the mount with @device listens (control.h), if it is ours. g_free(). */
char *instance_own_socket(dev_t device);

/**
 * Keep other daemons of this user from registering and unregistering; not for long. A number for
 * instance_unlock().
 */
int instance_lock(void);
void instance_unlock(int lock_fd);

/** Where the daemon of @owner's mount with @device may listen. Free with g_strfreev(). */
char **instance_sockets(uid_t owner, dev_t device);

#endif /* SLUICE_TOOLS_INSTANCE_H */
