/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may do what through the passthrough file system, and where it ends; on real mounts. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "passthrough-util.h"

/* --- identity --- */

enum { USER = 4711, GROUP = 4712, DIR_GROUP = 4713 };

static bool become_user(void)
{
    return setgroups(0, NULL) == 0 && setresgid(GROUP, GROUP, GROUP) == 0 &&
           setresuid(USER, USER, USER) == 0;
}

static bool owned_by(const char *name, uid_t uid, gid_t gid)
{
    struct stat st;
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    return lstat(path, &st) == 0 && st.st_uid == uid && st.st_gid == gid;
}

static int client_identity(char **args)
{
    CHECK(chmod(".", 0777) == 0 && mkdir("shared", 0) == 0 && chown("shared", 0, DIR_GROUP) == 0);
    CHECK(chmod("shared", 02777) == 0 && mkdir("private", 0700) == 0);
    umask(027);
    CHECK(become_user());
    struct stat st;
    CHECK(close(on_mount("file", O_CREAT | O_RDWR)) == 0 && owned_by("file", USER, GROUP));
    CHECK(stat("file", &st) == 0 && (st.st_mode & 07777) == 0640);
    CHECK(mkdir("dir", 0777) == 0 && owned_by("dir", USER, GROUP));
    CHECK(stat("dir", &st) == 0 && (st.st_mode & 07777) == 0750);
    CHECK(symlink("x", "link") == 0 && owned_by("link", USER, GROUP));
    CHECK(mkfifo("pipe", 0600) == 0 && owned_by("pipe", USER, GROUP));
    CHECK(close(open("shared/file", O_CREAT | O_RDWR, 0666)) == 0);
    CHECK(owned_by("shared/file", USER, DIR_GROUP));
    CHECK(mkdir("shared/dir", 0777) == 0 && owned_by("shared/dir", USER, DIR_GROUP));
    CHECK(stat("shared/dir", &st) == 0 && (st.st_mode & S_ISGID));
    CHECK_ERROR(open("private/file", O_CREAT | O_RDWR, 0666), EACCES);
    CHECK_ERROR(mknod("device", S_IFCHR | 0600, makedev(1, 3)), EPERM);
    CHECK_ERROR(chown("file", 0, 0), EPERM);
    return 0;
}

static bool has_mode(const char *name, mode_t mode)
{
    struct stat st;
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    return stat(path, &st) == 0 && (st.st_mode & 07777) == mode;
}

/* A file that a user without privilege may write loses its set-id bits by it. */
static int client_set_id(char **args)
{
    static const char *const names[] = {"write",     "direct", "truncate",
                                        "fallocate", "copy",   "trunc"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        int fd = on_mount(names[i], O_CREAT | O_RDWR);
        CHECK(fd >= 0 && pwrite(fd, "0123456789", 10, 0) == 10);
        CHECK(fchmod(fd, 06777) == 0 && close(fd) == 0 && has_mode(names[i], 06777));
    }
    /* root keeps them */
    int root_fd = on_mount("write", O_RDWR);
    CHECK(pwrite(root_fd, "r", 1, 0) == 1 && fsync(root_fd) == 0 && has_mode("write", 06777));
    close(root_fd);
    CHECK(become_user());
    int fd = on_mount("write", O_RDWR);
    CHECK(pwrite(fd, "x", 1, 0) == 1 && fsync(fd) == 0 && has_mode("write", 0777));
    close(fd);
    void *block;
    CHECK(posix_memalign(&block, 4096, 4096) == 0);
    fd = on_mount("direct", O_RDWR | O_DIRECT);
    CHECK(pwrite(fd, block, 4096, 0) == 4096 && has_mode("direct", 0777));
    struct stat st;
    CHECK(stat("direct", &st) == 0 && (st.st_mode & 07777) == 0777); /* not what was cached */
    close(fd);
    CHECK(truncate("truncate", 3) == 0 && has_mode("truncate", 0777));
    fd = on_mount("fallocate", O_RDWR);
    CHECK(fallocate(fd, 0, 0, 8192) == 0 && has_mode("fallocate", 0777));
    CHECK(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0777);
    int out = on_mount("copy", O_RDWR);
    CHECK(copy_file_range(fd, NULL, out, NULL, 5, 0) == 5 && has_mode("copy", 0777));
    close(out);
    close(fd);
    CHECK(close(on_mount("trunc", O_WRONLY | O_TRUNC)) == 0 && has_mode("trunc", 0777));
    free(block);
    return 0;
}

/* --- staying inside --- */

/* What others do in the source meanwhile leads nowhere outside of it. */
static int client_inside(char **args)
{
    g_autofree char *inner = g_build_filename(source_dir, "inner", NULL);
    g_autofree char *moved = g_build_filename(source_dir, "moved", NULL);
    struct stat st;
    CHECK(mkdir("inner", 0755) == 0);
    int dir = on_mount("inner", O_RDONLY | O_DIRECTORY);
    CHECK(dir >= 0);
    CHECK(rename(inner, moved) == 0 && symlink("/etc", inner) == 0);
    CHECK_ERROR(fstatat(dir, "passwd", &st, 0), ENOENT);
    int fd = openat(dir, "file", O_CREAT | O_WRONLY, 0644);
    CHECK(fd >= 0 && close(fd) == 0);
    g_autofree char *file = g_build_filename(moved, "file", NULL);
    CHECK(stat(file, &st) == 0);

    /* a file replaced by a link to outside: the open one and the name are two things */
    int inside = openat(dir, "file", O_RDWR);
    CHECK(unlink(file) == 0 && symlink("/etc/passwd", file) == 0);
    CHECK(write(inside, "x", 1) == 1 && fsync(inside) == 0);
    char target[64];
    int path_only = openat(dir, "file", O_PATH | O_NOFOLLOW);
    for (unsigned i = 0; i < 40 && path_only >= 0 && fstat(path_only, &st) == 0; i++) {
        if (S_ISLNK(st.st_mode)) {
            break;
        }
        close(path_only); /* the name is believed for a second */
        g_usleep(50000);
        path_only = openat(dir, "file", O_PATH | O_NOFOLLOW);
    }
    if (args[2]) { /* not where the mount is told that nobody else changes the source */
        CHECK(S_ISLNK(st.st_mode) && readlinkat(path_only, "", target, sizeof(target)) == 11);
    }
    close(inside);
    close(dir);
    return 0;
}

/* --- the mount point below the source --- */

static int client_self_below(char **args)
{
    struct stat st;
    /* args[0] is the mount, which lies in args[1], the source, under this name */
    const char *name = strrchr(args[0], '/') + 1;
    g_autofree char *inner = g_build_filename(name, "file", NULL);
    CHECK(close(open("file", O_CREAT | O_RDWR, 0644)) == 0);
    CHECK_ERROR(stat(name, &st), ELOOP);
    CHECK_ERROR(stat(inner, &st), ELOOP);
    CHECK_ERROR(open(inner, O_CREAT | O_RDWR, 0644), ELOOP);
    CHECK(rmdir(name) < 0 && rename(name, "other") < 0 && unlink(name) < 0 &&
          mkdir(name, 0755) < 0);
    bool seen_self = false, seen_file = false;
    for (unsigned i = 0; i < 2; i++) { /* READDIRPLUS, then plain */
        DIR *dir = opendir(".");
        CHECK(dir);
        for (struct dirent *entry; (entry = readdir(dir));) {
            seen_self |= strcmp(entry->d_name, name) == 0;
            seen_file |= strcmp(entry->d_name, "file") == 0;
        }
        closedir(dir);
    }
    CHECK(seen_self && seen_file);

    /* a file of the mount, bind-mounted onto a file of the source: opening would come back to us */
    g_autofree char *target = g_build_filename(args[1], "target", NULL);
    CHECK(close(open(target, O_CREAT | O_RDWR, 0644)) == 0);
    CHECK(mount("file", target, NULL, MS_BIND, NULL) == 0);
    int fd = open("target", O_CREAT | O_RDWR, 0644);
    int error = errno;
    umount2(target, MNT_DETACH);
    CHECK(fd < 0 && error == ELOOP);
    return 0;
}

/* --- other mounts below the source --- */

static int client_submount(char **args)
{
    struct stat outside, inside, st;
    CHECK(close(open("file", O_CREAT | O_RDWR, 0644)) == 0);
    if (args[2] && strcmp(args[2], "deny") == 0) {
        CHECK_ERROR(stat("sub", &st), EXDEV);
        CHECK_ERROR(open("sub/file", O_CREAT | O_RDWR, 0644), EXDEV);
        return 0;
    }
    int fd = open("sub/file", O_CREAT | O_RDWR, 0644);
    CHECK(fd >= 0 && write(fd, "below", 5) == 5 && close(fd) == 0);
    CHECK(stat("file", &outside) == 0 && stat("sub/file", &inside) == 0);
    CHECK(outside.st_dev == inside.st_dev && outside.st_ino != inside.st_ino);
    CHECK(inside.st_ino >> 48); /* numbers of the two file systems are kept apart */
    DIR *dir = opendir("sub");
    CHECK(dir);
    bool same_number = false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        same_number |= strcmp(entry->d_name, "file") == 0 && entry->d_ino == inside.st_ino;
    }
    CHECK(same_number && closedir(dir) == 0);
    CHECK_ERROR(rename("sub/file", "moved"), EXDEV);
    CHECK_ERROR(link("sub/file", "linked"), EXDEV);
    CHECK_ERROR(rmdir("sub"), EBUSY);
    g_autofree char *read_only = g_build_filename(args[1], "ro", NULL);
    CHECK(mkdir(read_only, 0755) == 0 && mount(args[1], read_only, NULL, MS_BIND, NULL) == 0);
    CHECK(mount(NULL, read_only, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
    /* the same inode through a read-only mount is another one for us */
    int writable = open("file", O_RDWR), refused = open("ro/file", O_RDWR), error = errno;
    umount2(read_only, MNT_DETACH);
    CHECK(writable >= 0 && refused < 0 && error == EROFS);
    return close(writable);
}

static void test_self_below(void)
{
    GError *error = NULL;
    Served served = {0};
    FsPassthroughParams params;
    served.source = g_dir_make_tmp("sluice source XXXXXX", &error);
    g_assert_no_error(error);
    fs_passthrough_params_init(&params);
    params.source = served.source;
    FsSessionParams session;
    served.pt = fs_passthrough_new(&params, &error);
    g_assert_no_error(error);
    test_mount_params(&session, fs_passthrough_filesystem(), served.pt);
    g_autofree char *point = g_build_filename(served.source, "point", NULL);
    g_assert_cmpint(mkdir(point, 0755), ==, 0);
    test_mount_new_at(&served.mount, &session, point);
    fs_passthrough_attach_session(served.pt, served.mount.session);
    test_mount_start(&served.mount);
    g_assert_cmpint(test_client_run("self_below", point, served.source), ==, 0);
    test_serve_end(&served);
}

static void test_submount(gconstpointer opaque)
{
    const char *policy = opaque;
    GError *error = NULL;
    Served served = {0};
    FsPassthroughParams params;
    served.source = g_dir_make_tmp("sluice source XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *sub = g_build_filename(served.source, "sub", NULL);
    g_assert_cmpint(mkdir(sub, 0755), ==, 0);
    g_assert_cmpint(mount("none", sub, "tmpfs", 0, NULL), ==, 0);
    fs_passthrough_params_init(&params);
    params.source = served.source;
    params.xdev = strcmp(policy, "deny") ? FS_PASSTHROUGH_XDEV_ALLOW : FS_PASSTHROUGH_XDEV_DENY;
    test_serve_params(&served, &params, 1);
    g_assert_cmpint(test_client_run("submount", served.mount.dir, served.source, policy), ==, 0);
    test_wait_for_releases(&served);
    test_mount_down(&served.mount);
    fs_passthrough_free(served.pt);
    g_assert_cmpint(umount(sub), ==, 0);
    test_remove_tree(served.source);
    g_free(served.source);
}

/* --- descriptors run out --- */

static int client_descriptors(char **args)
{
    char name[32];
    struct stat st;
    unsigned found = 0, refused = 0;
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "file%u", i);
        if (stat(name, &st) == 0) {
            found++;
        } else {
            CHECK(errno == ENFILE);
            refused++;
        }
    }
    CHECK(found > 50);
    /* from Linux 6.18 on the kernel can be asked to forget others for it */
    struct utsname system;
    unsigned major = 0, minor = 0;
    CHECK(uname(&system) == 0 && sscanf(system.release, "%u.%u", &major, &minor) == 2);
    CHECK(major * 1000 + minor >= 6018 ? refused == 0 : refused > 50);
    unsigned listed = 0;
    DIR *dir = opendir(".");
    if (!dir) {
        CHECK(errno == ENFILE);
    } else {
        while (readdir(dir)) {
            listed++;
        }
        CHECK(listed == 602);
        closedir(dir);
    }
    int fd = open("file0", O_RDONLY);
    CHECK(fd >= 0 || errno == ENFILE);
    return 0;
}

/* --- the tests --- */

TEST_CLIENT(identity)
TEST_CLIENT(set_id)
TEST_CLIENT(inside)
TEST_CLIENT(self_below)
TEST_CLIENT(submount)
TEST_CLIENT(descriptors)

static const TestClient clients[] = {
    {"identity", enter_identity},
    {"set_id", enter_set_id},
    {"inside", enter_inside},
    {"self_below", enter_self_below},
    {"submount", enter_submount},
    {"descriptors", enter_descriptors},
    {NULL, NULL},
};

static void test_descriptors(void)
{
    Served served = {0};
    struct rlimit before, small;
    test_serve(&served, &test_modes[MODE_ALWAYS]);
    g_autofree char *below = g_build_filename(served.source, "descriptors", NULL);
    g_assert_cmpint(mkdir(below, 0755), ==, 0);
    for (unsigned i = 0; i < 600; i++) {
        g_autofree char *file = g_strdup_printf("%s/file%u", below, i);
        g_assert_cmpint(close(open(file, O_CREAT | O_WRONLY, 0644)), ==, 0);
    }
    g_autofree char *path = test_mount_path(&served.mount, "descriptors");
    TestProcess *process = test_client_start("descriptors", path, below, NULL);
    getrlimit(RLIMIT_NOFILE, &before);
    small = before;
    small.rlim_cur = 300;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &small), ==, 0);
    g_assert_cmpint(test_client_join(process), ==, 0);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    test_serve_end(&served);
}

static void test_bad_source(void)
{
    GError *error = NULL;
    FsPassthroughParams params;
    fs_passthrough_params_init(&params);
    params.source = "/nonexistent/source";
    g_assert_null(fs_passthrough_new(&params, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, "/nonexistent/source"));
    g_clear_error(&error);
    params.source = "/etc/passwd";
    g_assert_null(fs_passthrough_new(&params, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
}

int main(int argc, char **argv)
{
    static const char *const everywhere[] = {"identity", "set_id", "inside", NULL};
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/passthrough/bad-source", test_bad_source);
    g_test_add_func("/passthrough/mount-point-below-the-source", test_self_below);
    g_test_add_data_func("/passthrough/other-mounts/allow", "allow", test_submount);
    g_test_add_data_func("/passthrough/other-mounts/deny", "deny", test_submount);
    g_test_add_func("/passthrough/descriptors-run-out", test_descriptors);
    test_add_everywhere(everywhere);
    return g_test_run();
}
