/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Mapping user and group ids.
 *
 * How it works: maps are short, so a lookup walks them. Ranges may not overlap on either side:
 * what is shown can be stored again. Arithmetic is in 64 bits, since a range may end at the
 * largest id. (uid_t)-1 is no id; given to the kernel as an owner, it becomes one
 * whom nobody is, as with the kernel's own id-mapped mounts.
 *
 * An access control list is a version (2) and entries of tag, permissions, id, all little
 * endian, sorted by tag (linux/posix_acl_xattr.h).
 */
#include "fs/passthrough/id-map.h"

#include <errno.h>
#include <string.h>

#include "aio/error.h"
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#define MOST_RANGES 340 /* as many as the kernel takes */
#define SEPARATORS  ", \t\r\n"

typedef struct Range {
    uint32_t inside, outside, count;
} Range;

struct FsIdRanges {
    size_t count;
    Range ranges[];
};

static bool parse_number(const char *text, uint32_t minimum, uint32_t *number)
{
    guint64 value;
    if (!g_ascii_string_to_unsigned(text, 10, minimum, FS_ID_NONE - 1, &value, NULL)) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static bool parse_range(const char *option, const char *text, Range *range, GError **error)
{
    g_auto(GStrv) fields = g_strsplit(text, ":", 4);
    if (g_strv_length(fields) != 3 || !parse_number(fields[0], 0, &range->inside) ||
        !parse_number(fields[1], 0, &range->outside) ||
        !parse_number(fields[2], 1, &range->count)) {
        g_set_error(error, AIO_ERROR, EINVAL,
                    "%s: '%s' is not INSIDE:OUTSIDE:COUNT with ids below 4294967295", option, text);
        return false;
    }
    if ((uint64_t)range->inside + range->count > FS_ID_NONE ||
        (uint64_t)range->outside + range->count > FS_ID_NONE) {
        g_set_error(error, AIO_ERROR, EINVAL, "%s: '%s' goes beyond the largest id, 4294967294",
                    option, text);
        return false;
    }
    return true;
}

static bool overlap(uint32_t a, uint32_t b, const Range *x, const Range *y)
{
    return a < (uint64_t)b + y->count && b < (uint64_t)a + x->count;
}

static bool check_overlap(const char *option, const Range *ranges, size_t count, GError **error)
{
    const Range *last = &ranges[count - 1];
    for (size_t i = 0; i + 1 < count; i++) {
        bool inside = overlap(ranges[i].inside, last->inside, &ranges[i], last);
        if (inside || overlap(ranges[i].outside, last->outside, &ranges[i], last)) {
            g_set_error(error, AIO_ERROR, EINVAL, "%s: the ranges %u:%u:%u and %u:%u:%u overlap %s",
                        option, ranges[i].inside, ranges[i].outside, ranges[i].count, last->inside,
                        last->outside, last->count, inside ? "inside" : "outside");
            return false;
        }
    }
    return true;
}

static FsIdRanges *parse_ranges(const char *option, const char *text, GError **error)
{
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    g_auto(GStrv) words = g_strsplit_set(text, SEPARATORS, -1);
    for (char **word = words; *word; word++) {
        Range range;
        if (!**word) {
            continue;
        }
        if (ranges->len == MOST_RANGES) {
            g_set_error(error, AIO_ERROR, EINVAL, "%s: more than %d ranges", option, MOST_RANGES);
            return NULL;
        }
        if (!parse_range(option, *word, &range, error)) {
            return NULL;
        }
        g_array_append_val(ranges, range);
        if (!check_overlap(option, (const Range *)(void *)ranges->data, ranges->len, error)) {
            return NULL;
        }
    }
    if (ranges->len == 0) {
        g_set_error(error, AIO_ERROR, EINVAL, "%s: no INSIDE:OUTSIDE:COUNT is given", option);
        return NULL;
    }
    FsIdRanges *result = g_malloc(sizeof(*result) + ranges->len * sizeof(Range));
    result->count = ranges->len;
    memcpy(result->ranges, ranges->data, ranges->len * sizeof(Range));
    return result;
}

static bool parse_squash(FsIdMap *map, const char *text, GError **error)
{
    g_auto(GStrv) fields = g_strsplit(text, ":", 4);
    guint count = g_strv_length(fields);
    map->squash_uid = map->squash_gid = FS_ID_NOBODY;
    if ((count != 1 && count != 3) ||
        (strcmp(fields[0], "root") != 0 && strcmp(fields[0], "all") != 0) ||
        (count == 3 && (!parse_number(fields[1], 0, &map->squash_uid) ||
                        !parse_number(fields[2], 0, &map->squash_gid)))) {
        g_set_error(error, AIO_ERROR, EINVAL,
                    "squash: '%s' is neither root nor all, with or without :UID:GID", text);
        return false;
    }
    map->squash = fields[0][0] == 'r' ? FS_ID_SQUASH_ROOT : FS_ID_SQUASH_ALL;
    return true;
}

bool fs_id_map_init(FsIdMap *map, const char *uids, const char *gids, const char *squash,
                    GError **error)
{
    *map = (FsIdMap){0};
    map->uids = uids ? parse_ranges("uidmap", uids, error) : NULL;
    map->gids = gids && (!uids || map->uids) ? parse_ranges("gidmap", gids, error) : NULL;
    if ((uids && !map->uids) || (gids && !map->gids) ||
        (squash && !parse_squash(map, squash, error))) {
        fs_id_map_fini(map);
        return false;
    }
    return true;
}

void fs_id_map_fini(FsIdMap *map)
{
    g_free(map->uids);
    g_free(map->gids);
    *map = (FsIdMap){0};
}

bool fs_id_map_is_active(const FsIdMap *map)
{
    return map->uids || map->gids || map->squash != FS_ID_SQUASH_NONE;
}

static uint32_t show(const FsIdRanges *ranges, uint32_t id)
{
    for (size_t i = 0; ranges && i < ranges->count; i++) {
        const Range *range = &ranges->ranges[i];
        if (id >= range->outside && id - range->outside < range->count) {
            return range->inside + (id - range->outside);
        }
    }
    return ranges ? FS_ID_NONE : id;
}

static uint32_t store(const FsIdRanges *ranges, uint32_t id)
{
    for (size_t i = 0; ranges && i < ranges->count; i++) {
        const Range *range = &ranges->ranges[i];
        if (id >= range->inside && id - range->inside < range->count) {
            return range->outside + (id - range->inside);
        }
    }
    return ranges ? FS_ID_NONE : id;
}

static bool is_squashed(const FsIdMap *map, uint32_t id)
{
    return map->squash == FS_ID_SQUASH_ALL || (map->squash == FS_ID_SQUASH_ROOT && id == 0);
}

uint32_t fs_id_map_show_uid(const FsIdMap *map, uint32_t uid)
{
    return show(map->uids, uid);
}

uint32_t fs_id_map_show_gid(const FsIdMap *map, uint32_t gid)
{
    return show(map->gids, gid);
}

uint32_t fs_id_map_store_uid(const FsIdMap *map, uint32_t uid)
{
    return is_squashed(map, uid) ? map->squash_uid : store(map->uids, uid);
}

uint32_t fs_id_map_store_gid(const FsIdMap *map, uint32_t gid)
{
    return is_squashed(map, gid) ? map->squash_gid : store(map->gids, gid);
}

typedef uint32_t TranslateFn(const FsIdRanges *ranges, uint32_t id);

static int translate_acl(const FsIdMap *map, void *acl, size_t size, TranslateFn *translate,
                         bool leave_out)
{
    struct posix_acl_xattr_header header;
    if (size < sizeof(header) || (size - sizeof(header)) % sizeof(struct posix_acl_xattr_entry)) {
        return -EINVAL;
    }
    memcpy(&header, acl, sizeof(header));
    if (header.a_version != GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION)) {
        return -EINVAL;
    }
    char *bytes = acl;
    size_t used = sizeof(header);
    for (size_t at = used; at < size; at += sizeof(struct posix_acl_xattr_entry)) {
        struct posix_acl_xattr_entry entry;
        memcpy(&entry, bytes + at, sizeof(entry));
        uint16_t tag = GUINT16_FROM_LE(entry.e_tag);
        if (tag == ACL_USER || tag == ACL_GROUP) {
            uint32_t id =
                translate(tag == ACL_USER ? map->uids : map->gids, GUINT32_FROM_LE(entry.e_id));
            if (id == FS_ID_NONE && leave_out) {
                continue;
            }
            if (id == FS_ID_NONE) {
                return -EINVAL;
            }
            entry.e_id = GUINT32_TO_LE(id);
        }
        memcpy(bytes + used, &entry, sizeof(entry));
        used += sizeof(entry);
    }
    return (int)used;
}

int fs_id_map_show_acl(const FsIdMap *map, void *acl, size_t size)
{
    return translate_acl(map, acl, size, show, true);
}

int fs_id_map_store_acl(const FsIdMap *map, void *acl, size_t size)
{
    return translate_acl(map, acl, size, store, false);
}
