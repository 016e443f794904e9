/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Maps of user and group ids: what they do, and texts that are none. */
#include <errno.h>
#include <string.h>

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "fs/passthrough/id-map.h"

static void init(FsIdMap *map, const char *uids, const char *gids, const char *squash)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(fs_id_map_init(map, uids, gids, squash, &error));
    g_assert_no_error(error);
}

static void test_same(void)
{
    g_auto(FsIdMap) map = {0};

    init(&map, NULL, NULL, NULL);
    g_assert_false(fs_id_map_is_active(&map));
    g_assert_cmpuint(fs_id_map_show_uid(&map, 0), ==, 0);
    g_assert_cmpuint(fs_id_map_store_gid(&map, 4294967294u), ==, 4294967294u);
}

static void test_ranges(void)
{
    g_auto(FsIdMap) map = {0};

    init(&map, "0:100000:1000, 1000:1000:1\t4294967294:5:1\n", NULL, NULL);
    g_assert_true(fs_id_map_is_active(&map));
    const uint32_t pairs[][2] = {
        {0, 100000},
        {999, 100999},
        {1000, 1000},
        {4294967294u, 5},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_assert_cmpuint(fs_id_map_store_uid(&map, pairs[i][0]), ==, pairs[i][1]);
        g_assert_cmpuint(fs_id_map_show_uid(&map, pairs[i][1]), ==, pairs[i][0]);
    }
    const uint32_t unknown_outside[] = {0, 99999, 101000, 1001, 65534, FS_ID_NONE};
    for (size_t i = 0; i < G_N_ELEMENTS(unknown_outside); i++) {
        g_assert_cmpuint(fs_id_map_show_uid(&map, unknown_outside[i]), ==, FS_ID_NONE);
    }
    const uint32_t unknown_inside[] = {1001, 65534, 100000, FS_ID_NONE};
    for (size_t i = 0; i < G_N_ELEMENTS(unknown_inside); i++) {
        g_assert_cmpuint(fs_id_map_store_uid(&map, unknown_inside[i]), ==, FS_ID_NONE);
    }
    /* groups are not mapped */
    g_assert_cmpuint(fs_id_map_show_gid(&map, 7), ==, 7);
    g_assert_cmpuint(fs_id_map_store_gid(&map, 7), ==, 7);
}

static void test_squash(void)
{
    g_auto(FsIdMap) root = {0}, all = {0};

    init(&root, "0:100:10", NULL, "root");
    g_assert_cmpuint(fs_id_map_store_uid(&root, 0), ==, FS_ID_NOBODY);
    g_assert_cmpuint(fs_id_map_store_gid(&root, 0), ==, FS_ID_NOBODY);
    g_assert_cmpuint(fs_id_map_store_uid(&root, 1), ==, 101);
    g_assert_cmpuint(fs_id_map_store_uid(&root, 10), ==, FS_ID_NONE);
    g_assert_cmpuint(fs_id_map_show_uid(&root, 100), ==, 0);
    init(&all, NULL, NULL, "all:1000:0");
    g_assert_true(fs_id_map_is_active(&all));
    g_assert_cmpuint(fs_id_map_store_uid(&all, 0), ==, 1000);
    g_assert_cmpuint(fs_id_map_store_uid(&all, 4711), ==, 1000);
    g_assert_cmpuint(fs_id_map_store_gid(&all, 4711), ==, 0);
    g_assert_cmpuint(fs_id_map_show_uid(&all, 4711), ==, 4711);
}

static void test_malformed(void)
{
    g_autoptr(GString) many = g_string_new(NULL);
    for (unsigned i = 0; i <= 340; i++) {
        g_string_append_printf(many, "%u:%u:1,", i, i);
    }
    const struct {
        const char *uids, *gids, *squash, *says;
    } wrong[] = {
        {"", NULL, NULL, "uidmap: no INSIDE"},
        {" , ", NULL, NULL, "uidmap: no INSIDE"},
        {"1", NULL, NULL, "uidmap: '1' is not INSIDE:OUTSIDE:COUNT"},
        {"0:0", NULL, NULL, "'0:0' is not"},
        {"0:0:1:1", NULL, NULL, "'0:0:1:1' is not"},
        {"0:0:0", NULL, NULL, "'0:0:0' is not"},
        {"0:0:x", NULL, NULL, "is not"},
        {"0:-1:1", NULL, NULL, "is not"},
        {"0x0:0:1", NULL, NULL, "is not"},
        {"::", NULL, NULL, "is not"},
        {"0:4294967295:1", NULL, NULL, "is not"},
        {"0:4294967296:1", NULL, NULL, "is not"},
        {"0:99999999999999999999:1", NULL, NULL, "is not"},
        {"0:4294967294:2", NULL, NULL, "beyond the largest id"},
        {"1:0:4294967294 9:9:9", NULL, NULL, "overlap"},
        {"2:0:4294967294", NULL, NULL, "beyond the largest id"},
        {"0:0:10,9:100:1", NULL, NULL, "0:0:10 and 9:100:1 overlap inside"},
        {"0:0:10,100:9:1", NULL, NULL, "overlap outside"},
        {"0:0:1,5:5:1,3:3:3", NULL, NULL, "5:5:1 and 3:3:3 overlap"},
        {many->str, NULL, NULL, "more than 340"},
        {NULL, "7", NULL, "gidmap: '7'"},
        {"0:0:1", "7", NULL, "gidmap: '7'"},
        {NULL, NULL, "", "squash: ''"},
        {NULL, NULL, "none", "neither root nor all"},
        {NULL, NULL, "root:1", "neither"},
        {NULL, NULL, "root:1:", "neither"},
        {NULL, NULL, "all:1:2:3", "neither"},
        {NULL, NULL, "all:4294967295:0", "neither"},
        {"0:0:1", "0:0:1", "all:x:0", "neither"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        FsIdMap map;

        g_assert_false(fs_id_map_init(&map, wrong[i].uids, wrong[i].gids, wrong[i].squash, &error));
        g_assert_nonnull(error);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, wrong[i].says));
        g_assert_false(fs_id_map_is_active(&map));
    }
}

typedef struct Acl {
    struct posix_acl_xattr_header header;
    struct posix_acl_xattr_entry entries[5];
} Acl;

static Acl acl_with(uint32_t user, uint32_t group)
{
    const struct posix_acl_xattr_entry entries[] = {
        {GUINT16_TO_LE(ACL_USER_OBJ), GUINT16_TO_LE(6), GUINT32_TO_LE(FS_ID_NONE)},
        {GUINT16_TO_LE(ACL_USER), GUINT16_TO_LE(4), GUINT32_TO_LE(user)},
        {GUINT16_TO_LE(ACL_GROUP_OBJ), GUINT16_TO_LE(4), GUINT32_TO_LE(FS_ID_NONE)},
        {GUINT16_TO_LE(ACL_GROUP), GUINT16_TO_LE(7), GUINT32_TO_LE(group)},
        {GUINT16_TO_LE(ACL_MASK), GUINT16_TO_LE(7), GUINT32_TO_LE(FS_ID_NONE)},
    };
    Acl acl = {.header = {GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION)}};

    memcpy(acl.entries, entries, sizeof(entries));
    return acl;
}

static void test_acl(void)
{
    g_auto(FsIdMap) map = {0};
    init(&map, "0:1000:10", "0:2000:10", "all");
    Acl acl = acl_with(3, 4), outside = acl_with(1003, 2004), mixed = acl_with(1003, 5);
    Acl stored = acl;

    g_assert_cmpint(fs_id_map_store_acl(&map, &stored, sizeof(stored)), ==, sizeof(stored));
    g_assert_cmpmem(&stored, sizeof(stored), &outside, sizeof(outside));
    g_assert_cmpint(fs_id_map_show_acl(&map, &stored, sizeof(stored)), ==, sizeof(stored));
    g_assert_cmpmem(&stored, sizeof(stored), &acl, sizeof(acl));

    /* the entry of a group without counterpart goes, the mask after it moves up */
    int shorter = sizeof(mixed) - sizeof(mixed.entries[0]);
    g_assert_cmpint(fs_id_map_show_acl(&map, &mixed, sizeof(mixed)), ==, shorter);
    g_assert_cmpmem(&mixed.entries[3], sizeof(mixed.entries[3]), &acl.entries[4],
                    sizeof(acl.entries[4]));
    mixed = acl_with(3, 10);
    g_assert_cmpint(fs_id_map_store_acl(&map, &mixed, sizeof(mixed)), ==, -EINVAL);

    for (size_t size = 0; size < sizeof(acl); size++) {
        bool whole =
            size >= sizeof(acl.header) && (size - sizeof(acl.header)) % sizeof(acl.entries[0]) == 0;
        g_autofree char *cut = g_memdup2(&acl, MAX(size, 1));
        g_assert_cmpint(fs_id_map_store_acl(&map, cut, size), ==, whole ? (int)size : -EINVAL);
    }
    acl.header.a_version = GUINT32_TO_LE(1);
    g_assert_cmpint(fs_id_map_show_acl(&map, &acl, sizeof(acl)), ==, -EINVAL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/id-map/same", test_same);
    g_test_add_func("/id-map/ranges", test_ranges);
    g_test_add_func("/id-map/squash", test_squash);
    g_test_add_func("/id-map/malformed", test_malformed);
    g_test_add_func("/id-map/acl", test_acl);
    return g_test_run();
}
