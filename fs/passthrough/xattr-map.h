/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsXattrMap: names of extended attributes differ between the mount and the source.
 *
 * A map is a list of rules; the first one that matches decides. Its language is that of
 * virtiofsd's option of the same name: ":prefix:SCOPE:KEY:PREPEND:", "ok", "bad",
 * "unsupported", and ":map:KEY:PREPEND:" as a short form of several. The first character of
 * a rule is its separator. A word such as "user.virtiofs" stands for ":map::user.virtiofs.:".
 *
 * Two kinds of names have a meaning for the kernel only as they are: access control
 * lists, and capabilities of a file. They are let through, or refused, but never renamed.
 */
#ifndef SLUICE_FS_PASSTHROUGH_XATTR_MAP_H
#define SLUICE_FS_PASSTHROUGH_XATTR_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>
#include <linux/limits.h>

#define FS_XATTR_ACL_ACCESS  "system.posix_acl_access"
#define FS_XATTR_ACL_DEFAULT "system.posix_acl_default"
#define FS_XATTR_CAPABILITY  "security.capability"

typedef struct FsXattrMap FsXattrMap;

/** A name of the source. */
typedef struct FsXattrName {
    char text[XATTR_NAME_MAX + 1];
} FsXattrName;

/** Read rules; an error names the rule and what is wrong with it. */
FsXattrMap *fs_xattr_map_new(const char *rules, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void fs_xattr_map_free(FsXattrMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FsXattrMap, fs_xattr_map_free)

/**
 * What the source calls the attribute that a client calls @client. 0, or negative errno: -EPERM (a
 * rule "bad"), -EOPNOTSUPP ("unsupported", or not to be renamed), -ERANGE (too long). Any thread.
 */
int fs_xattr_map_to_source(const FsXattrMap *map, const char *client, FsXattrName *source);

/**
 * What clients are shown for a name of the source: a part of @source, or NULL: nothing. Any
 * thread.
 */
const char *fs_xattr_map_to_client(const FsXattrMap *map, const char *source);

/** Whether the attribute has the same name on both sides. */
bool fs_xattr_map_keeps(const FsXattrMap *map, const char *name);

#endif /* SLUICE_FS_PASSTHROUGH_XATTR_MAP_H */
