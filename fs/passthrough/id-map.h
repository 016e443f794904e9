/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsIdMap: user and group ids differ between the mount and the source.
 *
 * For each kind a list of ranges: INSIDE (an id of the mount), OUTSIDE (the same one on the
 * source), how many. No list: ids are the same. An id that is in no range has no counterpart.
 * Squashing replaces, only on the way to the source, root or everybody by one id of the source.
 */
#ifndef SLUICE_FS_PASSTHROUGH_ID_MAP_H
#define SLUICE_FS_PASSTHROUGH_ID_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/** An id without counterpart. The kernel shows it as the overflow id and lets nobody own it. */
#define FS_ID_NONE   ((uint32_t)-1)
#define FS_ID_NOBODY 65534u

typedef struct FsIdRanges FsIdRanges;

typedef enum FsIdSquash {
    FS_ID_SQUASH_NONE,
    FS_ID_SQUASH_ROOT, /**< id 0 of clients */
    FS_ID_SQUASH_ALL,
} FsIdSquash;

typedef struct FsIdMap {
    FsIdRanges *uids, *gids; /**< owned; NULL: the same on both sides */
    FsIdSquash squash;
    uint32_t squash_uid, squash_gid; /**< of the source */
} FsIdMap;

/**
 * Read "INSIDE:OUTSIDE:COUNT" ranges, separated by commas or white space, for @uids and @gids, and
 * @squash: "root" or "all", maybe followed by ":UID:GID" of the source (65534 each if not). Any of
 * them may be NULL. An error names the option and what is wrong.
 */
bool fs_id_map_init(FsIdMap *map, const char *uids, const char *gids, const char *squash,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;
void fs_id_map_fini(FsIdMap *map);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FsIdMap, fs_id_map_fini)

/** Whether an id of one side may be another one on the other. */
bool fs_id_map_is_active(const FsIdMap *map);

/** How the mount shows an id of the source; FS_ID_NONE: it has no counterpart. Any thread. */
uint32_t fs_id_map_show_uid(const FsIdMap *map, uint32_t uid);
uint32_t fs_id_map_show_gid(const FsIdMap *map, uint32_t gid);

/** What the source gets for an id of the mount; FS_ID_NONE: it has no counterpart. Any thread. */
uint32_t fs_id_map_store_uid(const FsIdMap *map, uint32_t uid);
uint32_t fs_id_map_store_gid(const FsIdMap *map, uint32_t gid);

/**
 * Translate the ids in an access control list, as it is kept in an attribute, in place; @size
 * bytes. To show: entries of ids without counterpart are left out. To store: they are an error;
 * squashing does not count. The new size, or -EINVAL: one of those, or not a list. Any thread.
 */
int fs_id_map_show_acl(const FsIdMap *map, void *acl, size_t size);
int fs_id_map_store_acl(const FsIdMap *map, void *acl, size_t size);

#endif /* SLUICE_FS_PASSTHROUGH_ID_MAP_H */
