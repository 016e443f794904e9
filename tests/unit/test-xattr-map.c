/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Maps of names of extended attributes: what rules do, and rules that are none. */
#include <errno.h>
#include <string.h>

#include "fs/passthrough/xattr-map.h"

static FsXattrMap *map_of(const char *rules)
{
    g_autoptr(GError) error = NULL;
    FsXattrMap *map = fs_xattr_map_new(rules, &error);

    g_assert_no_error(error);
    g_assert_nonnull(map);
    return map;
}

/* @client is @source on the source, or an errno where that is negative. */
static void assert_to_source(const FsXattrMap *map, const char *client, const char *source,
                             int expected)
{
    FsXattrName name;

    g_assert_cmpint(fs_xattr_map_to_source(map, client, &name), ==, expected);
    if (expected == 0) {
        g_assert_cmpstr(name.text, ==, source);
    }
}

static void assert_to_client(const FsXattrMap *map, const char *source, const char *client)
{
    g_assert_cmpstr(fs_xattr_map_to_client(map, source), ==, client);
}

static void test_name(void)
{
    static const char *const same[] = {"user.virtiofs", "user.virtiofs.", ":map::user.virtiofs.:",
                                       ":prefix:all::user.virtiofs.::bad:all:::", NULL};

    for (const char *const *rules = same; *rules; rules++) {
        g_autoptr(FsXattrMap) map = map_of(*rules);

        assert_to_source(map, "trusted.x", "user.virtiofs.trusted.x", 0);
        assert_to_source(map, "user.virtiofs.x", "user.virtiofs.user.virtiofs.x", 0);
        assert_to_source(map, FS_XATTR_ACL_ACCESS, NULL, -EOPNOTSUPP);
        assert_to_source(map, FS_XATTR_CAPABILITY, NULL, -EOPNOTSUPP);
        assert_to_client(map, "user.virtiofs.trusted.x", "trusted.x");
        assert_to_client(map, "user.virtiofs.", NULL);
        assert_to_client(map, "user.virtiofs." FS_XATTR_ACL_DEFAULT, NULL);
        assert_to_client(map, "user.x", NULL);
        assert_to_client(map, "security.selinux", NULL);
        g_assert_false(fs_xattr_map_keeps(map, FS_XATTR_ACL_ACCESS));
    }
}

/* A name without a namespace would become any name of the prefix's. */
static void test_bare_prefix(void)
{
    g_autoptr(FsXattrMap) security = map_of(":map::security.:"), user = map_of("user.virtiofs");

    assert_to_source(security, "capability", NULL, -EOPNOTSUPP);
    assert_to_source(security, "user.x", "security.user.x", 0);
    assert_to_client(security, FS_XATTR_CAPABILITY, NULL);
    assert_to_client(security, "security.user.x", "user.x");
    assert_to_source(user, "x", NULL, -EOPNOTSUPP);
    assert_to_client(user, "user.virtiofs.x", NULL);
}

static void test_map_some(void)
{
    static const char *const same[] = {
        "/map/trusted./user.t./",
        " /prefix/all/trusted./user.t./"
        "\n:bad:server::trusted.:\t|bad|client|user.t.||\n;ok;all;;;\n",
        NULL,
    };

    for (const char *const *rules = same; *rules; rules++) {
        g_autoptr(FsXattrMap) map = map_of(*rules);

        assert_to_source(map, "trusted.x", "user.t.trusted.x", 0);
        assert_to_source(map, "user.t.trusted.x", NULL, -EPERM);
        assert_to_source(map, "user.x", "user.x", 0);
        assert_to_client(map, "user.t.trusted.x", "trusted.x");
        assert_to_client(map, "user.t.user.x", NULL);
        assert_to_client(map, "trusted.x", NULL);
        assert_to_client(map, "user.x", "user.x");
        g_assert_true(fs_xattr_map_keeps(map, FS_XATTR_ACL_ACCESS));
        g_assert_true(fs_xattr_map_keeps(map, FS_XATTR_CAPABILITY));
        g_assert_false(fs_xattr_map_keeps(map, "trusted.x"));
    }
}

static void test_scopes(void)
{
    g_autoptr(FsXattrMap) map = map_of(
        ":unsupported:all:security.selinux:security.selinux::prefix:client:security.:user.s.:"
        ":prefix:server::user.s.::ok:client:user.::"
        ":bad:client:::"
        ":ok:server:::");

    assert_to_source(map, "security.selinux", NULL, -EOPNOTSUPP);
    assert_to_client(map, "security.selinux", NULL);
    assert_to_source(map, "security.x", "user.s.security.x", 0);
    assert_to_client(map, "user.s.x", "x"); /* scope server: whatever is left */
    assert_to_source(map, "user.x", "user.x", 0);
    assert_to_source(map, "trusted.x", NULL, -EPERM);
    assert_to_client(map, "trusted.x", "trusted.x");
}

static void test_lengths(void)
{
    g_autoptr(FsXattrMap) map = map_of("user.virtiofs");
    g_autoptr(FsXattrMap) same = map_of(":ok:all:::");
    char name[300];

    memset(name, 'n', sizeof(name));
    memcpy(name, "user.", 5);
    name[XATTR_NAME_MAX - strlen("user.virtiofs.")] = '\0';
    FsXattrName source;
    g_assert_cmpint(fs_xattr_map_to_source(map, name, &source), ==, 0);
    g_assert_cmpuint(strlen(source.text), ==, XATTR_NAME_MAX);
    name[XATTR_NAME_MAX - strlen("user.virtiofs.")] = 'n';
    name[XATTR_NAME_MAX] = '\0';
    assert_to_source(map, name, NULL, -ERANGE);
    assert_to_source(same, name, name, 0);
    name[XATTR_NAME_MAX] = 'n';
    name[XATTR_NAME_MAX + 1] = '\0';
    assert_to_source(same, name, NULL, -ERANGE);
}

static void test_malformed(void)
{
    g_autofree char *longest = g_strnfill(256, 'x');
    g_autofree char *too_long = g_strdup_printf(":bad:all:user.%s::", longest);
    const struct {
        const char *rules, *says;
    } wrong[] = {
        {"", "no rule for all other names"},
        {" \n", "no rule for all other names"},
        {":", "rule 1 of the xattr map ends before its type"},
        {":ok", "rule 1 of the xattr map ends before its type"},
        {":ok:", "ends before its scope"},
        {":ok:all", "ends before its scope"},
        {":ok:all:", "ends before its key"},
        {":ok:all::", "ends before its prefix"},
        {":ok:all::x", "ends before its prefix, or lacks the ':'"},
        {":ok:all::: :", "rule 2 of the xattr map ends before its type"},
        {":ok:all::: x", "rule 2 of the xattr map begins with 'x'"},
        {":good:all:::", "the type 'good'"},
        {":ok:both:::", "the scope 'both'"},
        {":ok:client:::", "no rule for all other names of the source"},
        {":ok:server:::", "no rule for all other names from clients"},
        {":ok:all:user.:user.:", "no rule for all other names:"},
        {":prefix:all::foo.::ok:all:::", "below 'foo.'"},
        {":map::system.:", "below 'system.'"},
        {":map:", "ends before its key"},
        {":map:user.:", "ends before its prefix"},
        {":map:user.::", "of type map has no prefix"},
        {":map::user.x.::ok:all:::", "must be the last"},
        {"user.a:user.b", "neither a name"},
        {"foo", "below 'foo.'"},
        {too_long, "more than 255 bytes"},
        {NULL, NULL},
    };

    for (size_t i = 0; wrong[i].rules; i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(fs_xattr_map_new(wrong[i].rules, &error));
        g_assert_nonnull(error);
        g_test_message("'%s': %s", wrong[i].rules, error->message);
        g_assert_nonnull(strstr(error->message, wrong[i].says));
    }
}

/* Whatever is accepted decides about every name, and lists nothing that is longer. */
static void test_random(void)
{
    static const char *const parts[] = {
        ":",      "/",     "map",      "prefix",  "ok", "bad", "all", "client",
        "server", "user.", "trusted.", "user.v.", " ",  "::",  ":::", "unsupported"};
    static const char *const names[] = {"user.x", "trusted.x", "user.v.user.x",
                                        "",       "x",         FS_XATTR_ACL_ACCESS};
    unsigned accepted = 0;

    for (unsigned round = 0; round < 200000; round++) {
        g_autoptr(GString) rules = g_string_new(NULL);
        g_autoptr(GError) error = NULL;
        for (int count = g_test_rand_int_range(1, 14); count > 0; count--) {
            g_string_append(rules, parts[g_test_rand_int_range(0, G_N_ELEMENTS(parts))]);
        }
        if (round % 4 == 0) {
            g_string_append(rules, ":ok:all:::");
        }
        g_autoptr(FsXattrMap) map = fs_xattr_map_new(rules->str, &error);
        g_assert_true((map == NULL) == (error != NULL));
        for (size_t i = 0; map && i < G_N_ELEMENTS(names); i++) {
            FsXattrName source;
            const char *client = fs_xattr_map_to_client(map, names[i]);
            int result = fs_xattr_map_to_source(map, names[i], &source);
            g_assert_true(result == 0 || result == -EPERM || result == -EOPNOTSUPP);
            g_assert_true(!client || g_str_has_suffix(names[i], client));
        }
        accepted += map != NULL;
    }
    g_assert_cmpuint(accepted, >, 100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/xattr-map/bare-prefix", test_bare_prefix);
    g_test_add_func("/xattr-map/name", test_name);
    g_test_add_func("/xattr-map/map-some", test_map_some);
    g_test_add_func("/xattr-map/scopes", test_scopes);
    g_test_add_func("/xattr-map/lengths", test_lengths);
    g_test_add_func("/xattr-map/malformed", test_malformed);
    g_test_add_func("/xattr-map/random", test_random);
    return g_test_run();
}
