/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions against an invented kernel agree on INIT and answer each request: see wire-util.h. What
 * is broken, and INTERRUPT: test-session-wire-broken and test-session-wire-interrupt.
 */
#include <errno.h>

#include "wire-util.h"

static void test_init_answer(void)
{
    Wire wire;

    wire_up_null(&wire, 2);
    const struct fuse_init_out *out = (const void *)wire.body;
    g_assert_cmpuint(wire.header.len, ==, sizeof(wire.header) + sizeof(*out));
    g_assert_cmpuint(out->major, ==, 7);
    g_assert_cmpuint(out->minor, ==, FS_FUSE_MINOR);
    g_assert_cmpuint(out->max_background, ==, 256);
    g_assert_cmpuint(out->congestion_threshold, ==, 192);
    wire_close(&wire, 0);
}

static void test_init_too_old(void)
{
    Wire wire;

    wire_open_null(&wire, 2);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*7.22*oldest served*");
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*cannot agree*");
    g_assert_cmpint(wire_call_init(&wire, 7, 22), ==, EPROTO);
    test_mount_until(wire.ended);
    g_test_assert_expected_messages();
    wire_close(&wire, EPROTO);
}

/* A kernel of the future asks again with our major number. */
static void test_init_newer_major(void)
{
    Wire wire;

    wire_open_null(&wire, 2);
    g_assert_cmpint(wire_call_init(&wire, 8, 1), ==, 0);
    g_assert_cmpuint(((const struct fuse_init_out *)(const void *)wire.body)->major, ==, 7);
    g_assert_false(wire.ready);
    g_assert_cmpint(wire_call_init(&wire, 7, 45), ==, 0);
    test_mount_until(wire.ready);
    wire_close(&wire, 0);
}

/* Hung up before INIT: ended, and never ready. */
static void test_no_init(void)
{
    Wire wire;

    wire_open_null(&wire, 4);
    wire_close(&wire, 0);
    g_assert_false(wire.ready);
}

static void test_operations(void)
{
    Wire wire;
    const struct fuse_getattr_in getattr = {0};
    const struct fuse_read_in read_in = {.offset = 4096, .size = 5000};
    struct {
        struct fuse_write_in in;
        char data[4096];
    } write_in = {.in.size = sizeof(write_in.data)};

    wire_up_null(&wire, 1);
    g_assert_cmpint(wire_call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "direct", sizeof("direct")), ==, 0);
    g_assert_cmpint(wire_call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "absent", sizeof("absent")), ==,
                    ENOENT);
    g_assert_cmpint(wire_call(&wire, FUSE_GETATTR, NULL_DIRECT, &getattr, sizeof(getattr)), ==, 0);
    for (uint64_t file = NULL_DIRECT; file <= NULL_ASYNC + 1; file++) {
        g_assert_cmpint(wire_call(&wire, FUSE_READ, file, &read_in, sizeof(read_in)), ==, 0);
        g_assert_cmpuint(wire.header.len, ==, sizeof(wire.header) + 5000);
        g_assert_cmpint(wire_call(&wire, FUSE_WRITE, file, &write_in, sizeof(write_in)), ==, 0);
        g_assert_cmpuint(((const struct fuse_write_out *)(const void *)wire.body)->size, ==, 4096);
    }
    g_assert_cmpint(wire_call(&wire, FUSE_READ, FUSE_ROOT_ID, &read_in, sizeof(read_in)), ==,
                    EISDIR);
    g_assert_cmpint(wire_call(&wire, FUSE_READLINK, NULL_DIRECT, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(wire_call(&wire, 49, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(wire_call(&wire, 4095, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    g_assert_cmpint(wire_call(&wire, G_MAXUINT32, FUSE_ROOT_ID, NULL, 0), ==, ENOSYS);
    wire_close(&wire, 0);
}

/* Requests without answer are taken, and nothing comes back for them. */
static void test_silent_requests(void)
{
    Wire wire;
    FsSessionStats stats;
    const struct fuse_forget_in forget = {.nlookup = 1};
    const struct {
        struct fuse_batch_forget_in in;
        struct fuse_forget_one one[3];
    } batch = {.in.count = 3};

    wire_up_null(&wire, 1);
    for (unsigned i = 0; i < 1000; i++) {
        wire_send(&wire, FUSE_FORGET, NULL_DIRECT, &forget, sizeof(forget));
        wire_send(&wire, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
        g_assert_cmpint(wire_call(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), ==, 0);
    }
    do {
        fs_session_get_stats(wire.session, &stats);
    } while (stats.in_flight > 0);
    g_assert_cmpuint(stats.requests, ==, 3001);
    g_assert_cmpuint(stats.replies, ==, 1001);
    wire_close(&wire, 0);
}

/* The longer form of SETXATTR reaches the file system as the older one, with its flag. */
static void test_setxattr_ext(void)
{
    Wire wire;
    Probe probe;
    struct {
        struct fuse_setxattr_in in;
        char rest[12];
    } set = {
        .in = {.size = 5, .flags = 2, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID},
        .rest = "user.a\0value",
    };

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    g_assert_cmpint(wire_call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, sizeof(set)), ==, 0);
    g_assert_cmpstr(probe.xattr, ==, "user.a=value");
    g_assert_cmpint(probe.xattr_flags, ==, 2);
    g_assert_true(probe.acl_kills_sgid);
    set.in.setxattr_flags = 0;
    g_assert_cmpint(wire_call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, sizeof(set)), ==, 0);
    g_assert_false(probe.acl_kills_sgid);
    for (size_t length = 0; length < sizeof(set); length++) {
        g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        g_assert_cmpint(wire_call(&wire, FUSE_SETXATTR, FUSE_ROOT_ID, &set, length), ==, EIO);
        g_test_assert_expected_messages();
    }
    wire_close(&wire, 0);
}

/* A supplementary group comes behind the name; what cannot be right is refused or not seen. */
static void test_supplementary_group(void)
{
    Wire wire;
    Probe probe;
    struct {
        struct fuse_in_header header;
        struct fuse_mkdir_in in;
        char name[8];
        struct fuse_ext_header ext;
        uint32_t count, group;
    } request = {
        .header = {.len = sizeof(request),
                   .opcode = FUSE_MKDIR,
                   .nodeid = FUSE_ROOT_ID,
                   .total_extlen = 2},
        .name = "name",
        .ext = {.size = 16, .type = FS_FUSE_EXT_GROUPS},
        .count = 1,
        .group = 3000,
    };
    /* header.total_extlen, ext.size, ext.type, count; the answer; whether a group is seen */
    static const struct {
        uint16_t total;
        uint32_t size, type, count;
        int error;
        bool seen;
    } rows[] = {
        {2, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, true},
        {0, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, 16, FS_FUSE_EXT_GROUPS, 0, EROFS, false},
        {2, 16, 5, 1, EROFS, false},
        {2, 12, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, 7, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {2, UINT32_MAX, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {1, 16, FS_FUSE_EXT_GROUPS, 1, EROFS, false},
        {4, 16, FS_FUSE_EXT_GROUPS, 1, EIO, false},
        {UINT16_MAX, 16, FS_FUSE_EXT_GROUPS, 1, EIO, false},
    };

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        request.header.total_extlen = rows[i].total;
        request.header.unique = wire.unique += 2;
        request.ext.size = rows[i].size;
        request.ext.type = rows[i].type;
        request.count = rows[i].count;
        probe.has_group = false;
        if (rows[i].error == EIO) {
            g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        }
        wire_send_raw(&wire, &request, sizeof(request));
        wire_receive(&wire);
        g_test_assert_expected_messages();
        g_assert_cmpint(-wire.header.error, ==, rows[i].error);
        g_assert_cmpint(probe.has_group, ==, rows[i].seen);
        g_assert_true(!rows[i].seen || probe.group == 3000);
    }
    wire_close(&wire, 0);
}

int main(int argc, char **argv)
{
    wire_test_init(&argc, &argv);

    g_test_add_func("/wire/init", test_init_answer);
    g_test_add_func("/wire/init-too-old", test_init_too_old);
    g_test_add_func("/wire/init-newer-major", test_init_newer_major);
    g_test_add_func("/wire/no-init", test_no_init);
    g_test_add_func("/wire/D17-operations", test_operations);
    g_test_add_func("/wire/silent-requests", test_silent_requests);
    g_test_add_func("/wire/setxattr-ext", test_setxattr_ext);
    g_test_add_func("/wire/supplementary-group", test_supplementary_group);

    return wire_test_run();
}
