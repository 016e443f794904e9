/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernel passthrough: which open files get it, on real mounts (fs/passthrough/kernel-io.c). */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/passthrough/operations.h"
#include "passthrough-util.h"

/* Serve @source, a fresh directory if it is NULL. False: kernel passthrough cannot be had here. */
static bool serve(Served *served, const char *source, FsPassthroughCache cache)
{
    GError *error = NULL;
    FsPassthroughParams params;
    served->source = source ? g_strdup(source) : g_dir_make_tmp("sluice source XXXXXX", &error);
    g_assert_no_error(error);
    fs_passthrough_params_init(&params);
    params.source = served->source;
    params.cache = cache;
    params.passthrough_io = FS_PASSTHROUGH_IO_AUTO;
    test_serve_params(served, &params, 2);
    if (!fs_kernel_io_is_on(&served->pt->kernel_io)) {
        g_test_skip("this kernel has no FUSE passthrough");
        test_serve_end(served);
        return false;
    }
    return true;
}

static FsKernelIoStats stats_of(Served *served)
{
    FsPassthroughStats stats;
    fs_passthrough_get_stats(served->pt, &stats);
    return stats.kernel_io;
}

/* Open, write or read, stay open until told. The third argument: the flags of open(2). */
static int client_user(char **args)
{
    char letter = 'u';
    int flags = (int)strtol(args[2], NULL, 10);
    g_autofree char *path = g_build_filename(args[0], "file", NULL);
    int fd = open(path, flags | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    if ((flags & O_ACCMODE) == O_RDONLY) {
        CHECK(pread(fd, &letter, 1, 0) == 1);
    } else {
        CHECK(pwrite(fd, &letter, 1, 0) == 1);
    }
    test_client_started();
    test_client_wait_released();
    CHECK(pread(fd, &letter, 1, 0) == 1 || (flags & O_ACCMODE) == O_WRONLY);
    return close(fd);
}

static TestProcess *start_user(Served *served, int flags)
{
    g_autofree char *mount = test_mount_path(&served->mount, "");
    g_autofree char *number = g_strdup_printf("%d", flags);
    TestProcess *user = test_client_start("user", mount, served->source, number, NULL);
    test_client_wait_started(user);
    return user;
}

static void end_user(TestProcess *user)
{
    test_client_release(user);
    g_assert_cmpint(test_client_join(user), ==, 0);
}

/* The first open decides for all until the last is closed; the kernel fails others with EIO. */
static void test_first_decides(void)
{
    Served served = {0};
    if (!serve(&served, NULL, FS_PASSTHROUGH_CACHE_AUTO)) {
        return;
    }
    TestProcess *first = start_user(&served, O_CREAT | O_RDWR);
    g_assert_cmpuint(stats_of(&served).opens, ==, 1);
    atomic_store(&served.pt->kernel_io.denied, true);
    TestProcess *second = start_user(&served, O_RDONLY);
    g_assert_cmpuint(stats_of(&served).opens, ==, 2);
    g_assert_cmpuint(stats_of(&served).refused, ==, 0);
    end_user(first);
    end_user(second);
    test_wait_for_releases(&served);

    /* now without: also an open that could have it goes to the daemon */
    first = start_user(&served, O_RDWR);
    g_assert_cmpuint(stats_of(&served).refused, ==, 1);
    atomic_store(&served.pt->kernel_io.denied, false);
    second = start_user(&served, O_RDWR);
    g_assert_cmpuint(stats_of(&served).mixed, ==, 1);
    g_assert_cmpuint(stats_of(&served).opens, ==, 2);
    end_user(second);
    end_user(first);
    test_wait_for_releases(&served);

    /* and back again: the pages of the time between are not believed */
    first = start_user(&served, O_RDONLY);
    g_assert_cmpuint(stats_of(&served).opens, ==, 3);
    end_user(first);
    test_serve_end(&served);
}

/* The file begins with the third argument: written, read. */
static int client_put(char **args)
{
    char letter = 0;
    g_autofree char *path = g_build_filename(args[0], "file", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && pwrite(fd, args[2], 1, 0) == 1);
    CHECK(pread(fd, &letter, 1, 0) == 1 && letter == args[2][0]);
    return close(fd);
}

static int client_get(char **args)
{
    char letter = 0;
    g_autofree char *path = g_build_filename(args[0], "file", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &letter, 1, 0) == 1 && letter == args[2][0]);
    return close(fd);
}

/* Pages from before the kernel wrote do not come back when the file is cached again, also where
   pages are kept at each open. */
static void test_stale_pages(void)
{
    Served served = {0};
    if (!serve(&served, NULL, FS_PASSTHROUGH_CACHE_ALWAYS)) {
        return;
    }
    g_autofree char *mount = test_mount_path(&served.mount, "");
    for (unsigned i = 0; i < 3; i++) {
        const char *const letters[] = {"a", "b"};
        for (unsigned kernel = 0; kernel < 2; kernel++) {
            atomic_store(&served.pt->kernel_io.denied, !kernel);
            g_assert_cmpint(test_client_run("put", mount, served.source, letters[kernel]), ==, 0);
            test_wait_for_releases(&served);
            atomic_store(&served.pt->kernel_io.denied, kernel);
            g_assert_cmpint(test_client_run("get", mount, served.source, letters[kernel]), ==, 0);
            test_wait_for_releases(&served);
        }
    }
    test_serve_end(&served);
}

/* Writes that the kernel would get wrong come to the daemon. */
static void test_withheld(void)
{
    Served served = {0};
    if (!serve(&served, NULL, FS_PASSTHROUGH_CACHE_AUTO)) {
        return;
    }
    g_autofree char *file = g_build_filename(served.source, "file", NULL);
    TestProcess *user = start_user(&served, O_CREAT | O_RDWR | O_APPEND);
    g_assert_cmpuint(stats_of(&served).withheld, ==, 1);
    TestProcess *other = start_user(&served, O_RDWR);
    g_assert_cmpuint(stats_of(&served).withheld, ==, 1);
    g_assert_cmpuint(stats_of(&served).opens, ==, 2);
    end_user(user);
    end_user(other);
    test_wait_for_releases(&served);
    g_assert_cmpint(chmod(file, 04755), ==, 0);
    user = start_user(&served, O_RDWR);
    g_assert_cmpuint(stats_of(&served).withheld, ==, 2);
    other = start_user(&served, O_RDONLY);
    g_assert_cmpuint(stats_of(&served).withheld, ==, 2);
    end_user(user);
    end_user(other);
    test_serve_end(&served);
}

/* Set-id bits that come while the file is open for writing go with the next write. */
static int client_set_id_later(char **args)
{
    struct stat st;
    g_autofree char *path = g_build_filename(args[0], "file", NULL);
    g_autofree char *source = g_build_filename(args[1], "file", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0755);
    CHECK(fd >= 0 && pwrite(fd, "x", 1, 0) == 1);
    CHECK(fchmod(fd, 06755) == 0 && stat(source, &st) == 0 && (st.st_mode & 07777) == 06755);
    CHECK(pwrite(fd, "y", 1, 0) == 1);
    CHECK(stat(source, &st) == 0 && (st.st_mode & 07777) == 0755);
    return close(fd);
}

static void test_set_id_later(void)
{
    Served served = {0};
    if (!serve(&served, NULL, FS_PASSTHROUGH_CACHE_AUTO)) {
        return;
    }
    g_autofree char *mount = test_mount_path(&served.mount, "");
    g_assert_cmpint(test_client_run("set_id_later", mount, served.source), ==, 0);
    g_assert_cmpuint(stats_of(&served).opens, ==, 1);
    g_assert_cmpuint(stats_of(&served).withheld, ==, 0);
    test_serve_end(&served);
}

/* A file system that is not known to allow it is left to the daemon. */
static void test_unsuited(void)
{
    Served served = {0};
    g_autofree char *dir = g_dir_make_tmp("sluice ramfs XXXXXX", NULL);
    if (mount("none", dir, "ramfs", 0, NULL) < 0) {
        g_test_skip("no ramfs");
    } else if (serve(&served, dir, FS_PASSTHROUGH_CACHE_AUTO)) {
        TestProcess *user = start_user(&served, O_CREAT | O_RDWR);
        g_assert_cmpuint(stats_of(&served).unsuited, ==, 1);
        g_assert_cmpuint(stats_of(&served).opens, ==, 0);
        end_user(user);
        test_wait_for_releases(&served);
        test_mount_down(&served.mount);
        fs_passthrough_free(served.pt);
        g_free(served.source);
        g_assert_cmpint(umount(dir), ==, 0);
    }
    rmdir(dir);
}

static const TestClient clients[] = {
    {"user", client_user}, {"put", client_put},
    {"get", client_get},   {"set_id_later", client_set_id_later},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/kernel-io/first-open-decides", test_first_decides);
    g_test_add_func("/kernel-io/pages-of-before-are-dropped", test_stale_pages);
    g_test_add_func("/kernel-io/withheld", test_withheld);
    g_test_add_func("/kernel-io/set-id-bits-of-later", test_set_id_later);
    g_test_add_func("/kernel-io/unsuited-file-system", test_unsuited);
    return g_test_run();
}
