/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* INIT beyond what libfuse knows (fs/session/init.c). */
#include "fs/session/init.h"

#include <string.h>

#include "fs/session/kernel-abi.h"

typedef struct InitMessage {
    struct fuse_in_header header;
    struct fuse_init_in init;
} InitMessage;

#define FLAGS2(flags) ((uint32_t)((uint64_t)(flags) >> 32))

static void test_parse(void)
{
    const InitMessage message = {
        .init = {.major = 7,
                 .minor = 45,
                 .flags = FUSE_INIT_EXT | FUSE_ASYNC_DIO,
                 .flags2 = FLAGS2(FS_FUSE_DIRECT_IO_ALLOW_MMAP)},
    };
    FsInitResult result = {0};

    g_assert_true(fs_init_parse(&message, sizeof(message), &result));
    g_assert_cmpuint(result.kernel_minor, ==, 45);
    g_assert_cmpuint(result.kernel_flags, ==,
                     FUSE_INIT_EXT | FUSE_ASYNC_DIO | FS_FUSE_DIRECT_IO_ALLOW_MMAP);
}

/* Older kernels send less; flags2 without INIT_EXT is noise. */
static void test_parse_short(void)
{
    const InitMessage message = {
        .init = {.major = 7, .minor = 27, .flags = ~FUSE_INIT_EXT, .flags2 = ~0u},
    };
    const size_t length = offsetof(InitMessage, init.flags2);
    FsInitResult result = {0};

    g_assert_true(fs_init_parse(&message, length, &result));
    g_assert_cmpuint(result.kernel_minor, ==, 27);
    g_assert_cmpuint(result.kernel_flags, ==, (uint32_t)~FUSE_INIT_EXT);
    g_assert_true(fs_init_parse(&message, sizeof(message), &result));
    g_assert_cmpuint(result.kernel_flags, ==, (uint32_t)~FUSE_INIT_EXT);

    for (size_t cut = 1; cut <= length; cut++) {
        g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*oldest served*");
        g_assert_false(fs_init_parse(&message, length - cut, &result));
        g_test_assert_expected_messages();
    }
}

static void test_parse_old(void)
{
    const InitMessage old = {.init = {.major = 7, .minor = FS_INIT_OLDEST_MINOR - 1}};
    const InitMessage ancient = {.init = {.major = 6, .minor = 99}};
    const InitMessage newer = {.init = {.major = 8, .minor = 0}};
    FsInitResult result = {0};

    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*7.22*oldest served*");
    g_assert_false(fs_init_parse(&old, sizeof(old), &result));
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*6.99*oldest served*");
    g_assert_false(fs_init_parse(&ancient, sizeof(ancient), &result));
    g_test_assert_expected_messages();
    g_assert_true(fs_init_parse(&newer, sizeof(newer), &result));
}

static const struct fuse_init_out libfuse_answer = {
    .major = 7,
    .minor = 31,
    .max_readahead = 131072,
    .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_POSIX_LOCKS,
    .max_background = 256,
    .congestion_threshold = 192,
    .max_write = 1048576,
    .max_pages = 256,
};

static void test_patch(void)
{
    const FsFilesystem filesystem = {
        .want_flags = FUSE_WRITEBACK_CACHE | FUSE_SECURITY_CTX | FS_FUSE_ALLOW_IDMAP,
        .refuse_flags = FUSE_POSIX_LOCKS,
    };
    const uint64_t not_offered = FUSE_ASYNC_DIO | FS_FUSE_ALLOW_IDMAP;
    FsInitResult result = {.kernel_minor = 60, .kernel_flags = ~not_offered};
    struct fuse_init_out out = libfuse_answer;

    fs_init_patch(&filesystem, 0, &out, sizeof(out), &result);
    const uint64_t flags = out.flags | (uint64_t)out.flags2 << 32;
    g_assert_cmpuint(out.minor, ==, FS_FUSE_MINOR);
    g_assert_cmpuint(flags & not_offered, ==, 0);
    g_assert_cmpuint(flags & (FUSE_POSIX_LOCKS | FUSE_SECURITY_CTX), ==, 0);
    const uint64_t expected = FUSE_ASYNC_READ | FUSE_WRITEBACK_CACHE | FUSE_INIT_EXT |
                              FUSE_HANDLE_KILLPRIV_V2 | FS_FUSE_DIRECT_IO_ALLOW_MMAP;
    g_assert_cmpuint(flags & expected, ==, expected);
    g_assert_cmpuint(result.flags, ==, flags);
    g_assert_cmpuint(result.minor, ==, out.minor);
    g_assert_cmpuint(result.max_write, ==, 1048576);
    g_assert_cmpuint(result.max_pages, ==, 256);
    g_assert_cmpuint(result.max_background, ==, 256);
}

/* A file system refuses export in general and asks for it in this mount. */
static void test_patch_export(void)
{
    const FsFilesystem filesystem = {.want_flags = FS_FUSE_NO_EXPORT_SUPPORT};
    FsInitResult result = {.kernel_minor = 45, .kernel_flags = UINT64_MAX};
    struct fuse_init_out out = libfuse_answer;

    fs_init_patch(&filesystem, 0, &out, sizeof(out), &result);
    g_assert_true(result.flags & FS_FUSE_NO_EXPORT_SUPPORT);
    out = libfuse_answer;
    out.flags |= FUSE_EXPORT_SUPPORT;
    fs_init_patch(&filesystem, 0, &out, sizeof(out), &result);
    g_assert_true(result.flags & FUSE_EXPORT_SUPPORT);
    g_assert_false(result.flags & FS_FUSE_NO_EXPORT_SUPPORT);
}

/* A kernel that knows less gets no more than it offered. */
static void test_patch_old_kernel(void)
{
    const FsFilesystem filesystem = {.want_flags = UINT64_MAX};
    FsInitResult result = {.kernel_minor = 27, .kernel_flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES};
    struct fuse_init_out out = libfuse_answer;

    fs_init_patch(&filesystem, 0, &out, sizeof(out), &result);
    g_assert_cmpuint(out.minor, ==, 27);
    g_assert_cmpuint(out.flags, ==, FUSE_ASYNC_READ | FUSE_BIG_WRITES);
    g_assert_cmpuint(out.flags2, ==, 0);
    g_assert_cmpuint(result.max_pages, ==, 32);
}

/* Kernel passthrough needs a depth beside its flag, and goes without the writeback cache. */
static void test_patch_passthrough(void)
{
    const size_t depth_at = offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t);
    const FsFilesystem plain = {.name = "plain"};
    const FsFilesystem writeback = {.want_flags = FUSE_WRITEBACK_CACHE};
    const struct {
        const FsFilesystem *filesystem;
        uint64_t want, offered;
        bool agreed;
    } rows[] = {
        {&plain, FS_FUSE_PASSTHROUGH, UINT64_MAX, true},
        {&plain, 0, UINT64_MAX, false},
        {&plain, FS_FUSE_PASSTHROUGH, ~FS_FUSE_PASSTHROUGH, false},
        {&writeback, FS_FUSE_PASSTHROUGH, UINT64_MAX, false},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        FsInitResult result = {.kernel_minor = 45, .kernel_flags = rows[i].offered};
        struct fuse_init_out out = libfuse_answer;
        uint32_t depth;
        fs_init_patch(rows[i].filesystem, rows[i].want, &out, sizeof(out), &result);
        memcpy(&depth, (char *)&out + depth_at, sizeof(depth));
        g_assert_cmpint(!!(result.flags & FS_FUSE_PASSTHROUGH), ==, rows[i].agreed);
        g_assert_cmpuint(depth, ==, rows[i].agreed);
    }
}

/* Answers that are not the final one, or of another layout, are not touched. */
static void test_patch_leaves_alone(void)
{
    const FsFilesystem filesystem = {.want_flags = UINT64_MAX};
    FsInitResult result = {.kernel_minor = 45, .kernel_flags = UINT64_MAX};
    struct fuse_init_out out = {.major = 7, .minor = 31};
    struct fuse_init_out copy = out;

    fs_init_patch(&filesystem, 0, &out, sizeof(out), &result);
    g_assert_cmpmem(&out, sizeof(out), &copy, sizeof(copy));
    g_assert_cmpuint(result.max_write, ==, 0);

    out = copy = libfuse_answer;
    fs_init_patch(&filesystem, 0, &out, FUSE_COMPAT_22_INIT_OUT_SIZE, &result);
    g_assert_cmpmem(&out, sizeof(out), &copy, sizeof(copy));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/init/parse", test_parse);
    g_test_add_func("/init/parse-short", test_parse_short);
    g_test_add_func("/init/parse-old", test_parse_old);
    g_test_add_func("/init/patch", test_patch);
    g_test_add_func("/init/patch-export", test_patch_export);
    g_test_add_func("/init/patch-old-kernel", test_patch_old_kernel);
    g_test_add_func("/init/kernel-passthrough", test_patch_passthrough);
    g_test_add_func("/init/patch-leaves-alone", test_patch_leaves_alone);
    return g_test_run();
}
