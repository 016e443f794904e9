/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Who sent a request.
 *
 * How it works: a caller waits for its answer, so its process is there to be looked
 * at in /proc/PID/status as long as the request has none. Pages that the
 * kernel writes back have no caller (pid 0). Only rare requests need this.
 */
#include "fs/passthrough/caller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <glib.h>
#include <linux/capability.h>

#define NOBODY     65534
#define UNKNOWN_ID ((uid_t)-1)

/* The text behind @label in /proc/PID/status, up to the end of its line; NULL: none. */
static char *read_status(pid_t pid, const char *label)
{
    char path[32];
    g_autofree char *text = NULL;
    g_snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (pid <= 0 || !g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    const char *line = strstr(text, label);
    if (!line) {
        return NULL;
    }
    line += strlen(label);
    return g_strndup(line, strcspn(line, "\n"));
}

/* Of "real effective saved file-system" the last. */
static bool read_id(pid_t pid, const char *label, uid_t *id)
{
    g_autofree char *text = read_status(pid, label);
    unsigned ids[4];
    if (!text || sscanf(text, "%u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4) {
        return false;
    }
    *id = ids[3];
    return true;
}

bool fs_caller_ids(const struct fuse_ctx *caller, uid_t *uid, gid_t *gid)
{
    *uid = caller->uid;
    *gid = caller->gid;
    if (*uid != UNKNOWN_ID && *gid != UNKNOWN_ID) {
        return true;
    }
    if (read_id(caller->pid, "\nUid:", uid) && read_id(caller->pid, "\nGid:", gid)) {
        return true;
    }
    *uid = *gid = NOBODY;
    return false;
}

bool fs_caller_is_root(const struct fuse_ctx *caller)
{
    uid_t uid;
    gid_t gid;
    return fs_caller_ids(caller, &uid, &gid) && uid == 0;
}

bool fs_caller_is_admin(const struct fuse_ctx *caller)
{
    struct stat own, theirs;
    char path[32];
    g_snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)caller->pid);
    if (caller->pid <= 0 || stat("/proc/self/ns/user", &own) < 0 || stat(path, &theirs) < 0 ||
        own.st_dev != theirs.st_dev || own.st_ino != theirs.st_ino) {
        return false;
    }
    g_autofree char *effective = read_status(caller->pid, "\nCapEff:");
    return effective && (strtoull(effective, NULL, 16) >> CAP_SYS_ADMIN & 1);
}

bool fs_caller_in_group(const struct fuse_ctx *caller, gid_t group)
{
    uid_t uid;
    gid_t gid;
    if (!fs_caller_ids(caller, &uid, &gid)) {
        return false;
    }
    g_autofree char *groups = gid == group ? NULL : read_status(caller->pid, "\nGroups:");
    bool found = gid == group;
    for (char *at = groups, *end; at && !found; at = end) {
        unsigned long one = strtoul(at, &end, 10);
        if (end == at) {
            break;
        }
        found = one == group;
    }
    return found;
}
