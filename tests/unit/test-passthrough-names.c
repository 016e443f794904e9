/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, attributes and directories of the passthrough file system, on real mounts. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "passthrough-util.h"

/* --- names and attributes --- */

static int client_names(char **args)
{
    g_autofree char *longest = g_strnfill(255, 'x');
    g_autofree char *too_long = g_strnfill(256, 'x');
    struct stat st;

    int fd = on_mount(longest, O_CREAT | O_RDWR);
    CHECK(fd >= 0);
    close(fd);
    CHECK(stat(longest, &st) == 0);
    CHECK_ERROR(open(too_long, O_CREAT | O_RDWR, 0644), ENAMETOOLONG);
    CHECK_ERROR(stat(too_long, &st), ENAMETOOLONG);
    CHECK_ERROR(mkdir(too_long, 0755), ENAMETOOLONG);
    CHECK_ERROR(mknod(too_long, S_IFIFO | 0644, 0), ENAMETOOLONG);
    CHECK_ERROR(symlink("x", too_long), ENAMETOOLONG);
    CHECK_ERROR(link(longest, too_long), ENAMETOOLONG);
    CHECK_ERROR(rename(longest, too_long), ENAMETOOLONG);
    CHECK_ERROR(unlink(too_long), ENAMETOOLONG);
    CHECK_ERROR(rmdir(too_long), ENAMETOOLONG);
    CHECK(unlink(longest) == 0);

    CHECK(mkdir("odd \n\xff name", 0755) == 0);
    CHECK(rmdir("odd \n\xff name") == 0);
    CHECK_ERROR(rmdir("missing"), ENOENT);
    CHECK_ERROR(open("missing", O_RDONLY), ENOENT);

    char deep[1200] = "";
    for (unsigned i = 0; i < 200; i++) {
        strcat(deep, i ? "/d" : "d");
        CHECK(mkdir(deep, 0755) == 0);
    }
    strcat(deep, "/file");
    fd = open(deep, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    CHECK(stat(deep, &st) == 0 && st.st_size == 1);
    return 0;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static int client_attributes(char **args)
{
    struct stat st, source;
    g_autofree char *source_file = g_build_filename(source_dir, "file", NULL);
    int fd = on_mount("file", O_CREAT | O_RDWR | O_EXCL);
    CHECK(fd >= 0);
    CHECK_ERROR(on_mount("file", O_CREAT | O_RDWR | O_EXCL), EEXIST);

    CHECK(chmod("file", 06751) == 0 && stat("file", &st) == 0 && (st.st_mode & 07777) == 06751);
    CHECK(fchmod(fd, 0640) == 0 && stat(source_file, &source) == 0);
    CHECK((source.st_mode & 07777) == 0640);
    CHECK(chown("file", 12, 34) == 0 && stat("file", &st) == 0);
    CHECK(st.st_uid == 12 && st.st_gid == 34);
    CHECK(fchown(fd, (uid_t)-1, 35) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_uid == 12 && st.st_gid == 35);

    struct timespec times[2] = {{1000000001, 123456789}, {1000000002, 987654321}};
    CHECK(utimensat(AT_FDCWD, "file", times, 0) == 0 && stat("file", &st) == 0);
    CHECK(same_time(st.st_atim, times[0]) && same_time(st.st_mtim, times[1]));
    struct timespec only_mtime[2] = {{0, UTIME_OMIT}, {77, 5}};
    CHECK(futimens(fd, only_mtime) == 0 && stat("file", &st) == 0);
    CHECK(same_time(st.st_atim, times[0]) && same_time(st.st_mtim, only_mtime[1]));
    struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    CHECK(futimens(fd, now) == 0 && stat("file", &st) == 0);
    CHECK(st.st_atim.tv_sec > 1500000000 && same_time(st.st_mtim, only_mtime[1]));
    CHECK(stat(source_file, &source) == 0 && same_time(source.st_mtim, st.st_mtim));
    CHECK(source.st_ino == st.st_ino);

    CHECK(truncate("file", 100000) == 0 && stat("file", &st) == 0 && st.st_size == 100000);
    CHECK(ftruncate(fd, 10) == 0 && stat(source_file, &source) == 0 && source.st_size == 10);
    CHECK_ERROR(truncate("file", -1), EINVAL);
    int read_only = on_mount("file", O_RDONLY);
    CHECK_ERROR(ftruncate(read_only, 0), EINVAL);
    close(read_only);
    CHECK(on_mount("file", O_WRONLY | O_TRUNC) >= 0);
    CHECK(stat(source_file, &source) == 0 && source.st_size == 0);

    struct statx on_mnt, on_src;
    CHECK(statx(AT_FDCWD, "file", 0, STATX_BTIME | STATX_BASIC_STATS, &on_mnt) == 0);
    CHECK(statx(AT_FDCWD, source_file, 0, STATX_BTIME | STATX_BASIC_STATS, &on_src) == 0);
    if (on_mnt.stx_mask & STATX_BTIME) { /* Linux 6.6 */
        CHECK(on_mnt.stx_btime.tv_sec == on_src.stx_btime.tv_sec);
        CHECK(on_mnt.stx_btime.tv_nsec == on_src.stx_btime.tv_nsec);
    }

    /* a symbolic link has attributes of its own */
    CHECK(symlink("file", "link") == 0);
    CHECK(utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(lchown("link", 3, 4) == 0 && lstat("link", &st) == 0);
    CHECK(S_ISLNK(st.st_mode) && st.st_uid == 3 && same_time(st.st_mtim, times[1]));
    CHECK(stat("file", &st) == 0 && st.st_uid == 12);

    /* special files */
    CHECK(mknod("pipe", S_IFIFO | 0600, 0) == 0 && lstat("pipe", &st) == 0 && S_ISFIFO(st.st_mode));
    CHECK(mknod("device", S_IFCHR | 0600, makedev(1, 3)) == 0 && lstat("device", &st) == 0);
    CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));

    struct statvfs vfs, vfs_source;
    CHECK(statvfs(".", &vfs) == 0 && statvfs(source_dir, &vfs_source) == 0);
    CHECK(vfs.f_blocks == vfs_source.f_blocks && vfs.f_namemax == vfs_source.f_namemax);
    close(fd);
    return 0;
}

static int client_xattr(char **args)
{
    char value[70000], list[300];
    g_autofree char *source_file = g_build_filename(source_dir, "file", NULL);
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0);
    CHECK_ERROR(getxattr("file", "user.none", value, sizeof(value)), ENODATA);
    CHECK_ERROR(removexattr("file", "user.none"), ENODATA);
    CHECK(listxattr("file", NULL, 0) == 0);
    CHECK(setxattr("file", "user.a", "alpha", 5, XATTR_CREATE) == 0);
    CHECK_ERROR(setxattr("file", "user.a", "alpha", 5, XATTR_CREATE), EEXIST);
    CHECK_ERROR(setxattr("file", "user.b", "beta", 4, XATTR_REPLACE), ENODATA);
    CHECK(fsetxattr(fd, "user.empty", "", 0, 0) == 0);
    CHECK(getxattr("file", "user.a", NULL, 0) == 5);
    CHECK_ERROR(getxattr("file", "user.a", value, 4), ERANGE);
    CHECK(getxattr("file", "user.a", value, sizeof(value)) == 5 && memcmp(value, "alpha", 5) == 0);
    CHECK(getxattr("file", "user.empty", value, sizeof(value)) == 0);
    CHECK(getxattr(source_file, "user.a", value, sizeof(value)) == 5);
    ssize_t length = listxattr("file", list, sizeof(list));
    CHECK(length == (ssize_t)sizeof("user.a") + (ssize_t)sizeof("user.empty"));
    CHECK(length == listxattr(source_file, NULL, 0));
    memset(value, 'v', 2000);
    CHECK(setxattr("file", "user.big", value, 2000, 0) == 0);
    memset(value, 0, sizeof(value));
    CHECK(getxattr("file", "user.big", value, sizeof(value)) == 2000 && value[1999] == 'v');
    CHECK(removexattr("file", "user.a") == 0);
    CHECK_ERROR(getxattr(source_file, "user.a", value, sizeof(value)), ENODATA);

    CHECK(symlink("file", "link") == 0);
    CHECK(lsetxattr("link", "trusted.l", "own", 3, 0) == 0);
    CHECK(lgetxattr("link", "trusted.l", value, sizeof(value)) == 3);
    CHECK_ERROR(getxattr("link", "trusted.l", value, sizeof(value)), ENODATA);
    close(fd);
    return 0;
}

/* --- names that move --- */

static int client_rename(char **args)
{
    struct stat a, b, st;
    CHECK(close(on_mount("a", O_CREAT | O_WRONLY)) == 0);
    CHECK(close(on_mount("b", O_CREAT | O_WRONLY)) == 0);
    CHECK(mkdir("dir", 0755) == 0);
    CHECK(stat("a", &a) == 0 && stat("b", &b) == 0 && a.st_ino != b.st_ino);
    CHECK_ERROR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    CHECK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == 0);
    CHECK(stat("b", &st) == 0 && st.st_ino == a.st_ino);
    CHECK(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_WHITEOUT) == 0);
    CHECK(lstat("b", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0);
    CHECK(unlink("b") == 0);
    CHECK(rename("c", "dir/c") == 0 && stat("dir/c", &st) == 0 && st.st_ino == a.st_ino);
    CHECK_ERROR(rename("dir", "dir/sub"), EINVAL);
    CHECK_ERROR(rmdir("dir"), ENOTEMPTY);
    CHECK_ERROR(unlink("dir"), EISDIR);
    CHECK_ERROR(rename("a", "dir"), EISDIR);
    CHECK(mkdir("dir2", 0755) == 0 && rename("dir", "dir2") == 0 && stat("dir2/c", &st) == 0);

    /* links: to a file, to a symbolic link itself */
    CHECK(link("dir2/c", "hard") == 0 && stat("hard", &st) == 0);
    CHECK(st.st_nlink == 2 && st.st_ino == a.st_ino);
    CHECK(symlink("hard", "soft") == 0 && link("soft", "soft2") == 0);
    CHECK(lstat("soft2", &st) == 0 && S_ISLNK(st.st_mode) && st.st_nlink == 2);
    char target[32];
    CHECK(readlink("soft2", target, sizeof(target)) == 4 && memcmp(target, "hard", 4) == 0);

    /* renamed over while open: the open file stays what it was */
    int fd = on_mount("victim", O_CREAT | O_RDWR);
    CHECK(write(fd, "old", 3) == 3 && close(on_mount("killer", O_CREAT | O_RDWR)) == 0);
    CHECK(rename("killer", "victim") == 0);
    CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 3);
    CHECK(stat("victim", &st) == 0 && st.st_size == 0);
    close(fd);
    return 0;
}

static int client_unlinked(char **args)
{
    char buffer[8] = "";
    struct stat st;
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && write(fd, "before", 6) == 6 && unlink("file") == 0);
    CHECK(pwrite(fd, "after ", 6, 6) == 6 && fsync(fd) == 0);
    CHECK(pread(fd, buffer, 6, 6) == 6 && memcmp(buffer, "after ", 6) == 0);
    CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 12);
    CHECK(ftruncate(fd, 3) == 0 && fchmod(fd, 0600) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_size == 3);
    CHECK_ERROR(stat("file", &st), ENOENT);
    CHECK(close(fd) == 0);

    /* a directory that is gone while somebody is in it */
    CHECK(mkdir("dir", 0755) == 0);
    int dir = on_mount("dir", O_RDONLY | O_DIRECTORY);
    CHECK(dir >= 0 && rmdir("dir") == 0);
    CHECK_ERROR(openat(dir, "x", O_CREAT | O_RDWR, 0644), ENOENT);
    CHECK(fsync(dir) == 0 && close(dir) == 0);
    return 0;
}

static int client_tmpfile(char **args)
{
    char proc[64];
    struct stat st;
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    if (fd < 0 && errno == EOPNOTSUPP) {
        return 0; /* the kernel's FUSE has no TMPFILE before 6.1 */
    }
    CHECK(fd >= 0 && write(fd, "unnamed", 7) == 7);
    CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && (st.st_mode & 07777) == 0640);
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    CHECK(linkat(AT_FDCWD, proc, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    CHECK(fsync(fd) == 0 && close(fd) == 0);
    CHECK(stat("named", &st) == 0 && st.st_nlink == 1 && source_is("named", "unnamed", 7));
    return 0;
}

/* --- directories --- */

enum { MANY = 2000 };

static int client_directory(char **args)
{
    char name[64];
    struct stat st;
    g_autofree char *seen = g_malloc0(MANY);
    CHECK(mkdir("many", 0755) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "many/a file with number %05u", i);
        CHECK(close(open(name, O_CREAT | O_WRONLY, 0644)) == 0);
    }
    /* every name once, d_ino and d_type right, "." and ".." there */
    DIR *dir = opendir("many");
    CHECK(dir);
    unsigned count = 0, dots = 0, index;
    long middle = 0;
    char after_middle[256] = "";
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') {
            dots++;
            continue;
        }
        CHECK(sscanf(entry->d_name, "a file with number %u", &index) == 1 && index < MANY);
        CHECK(!seen[index]);
        seen[index] = 1;
        CHECK(entry->d_type == DT_REG);
        if (count == MANY / 2 + 1) {
            strcpy(after_middle, entry->d_name);
        }
        if (count++ == MANY / 2) {
            middle = telldir(dir);
        }
        if (index % 100 == 0) {
            CHECK(fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_ino == entry->d_ino);
        }
    }
    CHECK(count == MANY && dots == 2);
    seekdir(dir, middle);
    struct dirent *again = readdir(dir);
    CHECK(again && strcmp(again->d_name, after_middle) == 0);

    /* delete what was just read: nothing is skipped */
    rewinddir(dir);
    count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            CHECK(unlinkat(dirfd(dir), entry->d_name, 0) == 0);
            count++;
        }
    }
    CHECK(count == MANY && closedir(dir) == 0 && rmdir("many") == 0);
    return 0;
}

/* --- many at once --- */

static int hammer(unsigned worker)
{
    GRand *random = g_rand_new_with_seed(worker);
    char a[32], b[32], buffer[3000];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(a, sizeof(a), "f%d", g_rand_int_range(random, 0, 12));
        snprintf(b, sizeof(b), "f%d", g_rand_int_range(random, 0, 12));
        int fd;
        errno = 0;
        switch (g_rand_int_range(random, 0, 6)) {
        case 0:
            fd = open(a, O_CREAT | O_RDWR, 0644);
            CHECK(fd >= 0 || errno == ENOENT || errno == ESTALE || errno == EISDIR);
            if (fd >= 0) {
                CHECK(write(fd, buffer, sizeof(buffer)) == sizeof(buffer));
                CHECK(pread(fd, buffer, sizeof(buffer), 0) > 0 && close(fd) == 0);
            }
            break;
        case 1:
            CHECK(rename(a, b) == 0 || errno == ENOENT || errno == ESTALE);
            break;
        case 2:
            CHECK(link(a, b) == 0 || errno == ENOENT || errno == EEXIST || errno == ESTALE);
            break;
        case 3:
            CHECK(unlink(a) == 0 || errno == ENOENT || errno == ESTALE);
            break;
        case 4: {
            struct stat st;
            CHECK(stat(a, &st) == 0 || errno == ENOENT || errno == ESTALE);
            break;
        }
        default: {
            DIR *dir = opendir(".");
            CHECK(dir);
            while (readdir(dir)) {
            }
            closedir(dir);
        }
        }
    }
    g_rand_free(random);
    return 0;
}

static int client_hammer(char **args)
{
    pid_t workers[6];
    int failed = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(workers); i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            _exit(hammer(i));
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(workers); i++) {
        int status;
        CHECK(waitpid(workers[i], &status, 0) == workers[i]);
        failed |= status;
    }
    return failed != 0;
}

/* --- the tests --- */

TEST_CLIENT(names)
TEST_CLIENT(attributes)
TEST_CLIENT(xattr)
TEST_CLIENT(rename)
TEST_CLIENT(unlinked)
TEST_CLIENT(tmpfile)
TEST_CLIENT(directory)
TEST_CLIENT(hammer)

static const TestClient clients[] = {
    {"names", enter_names},         {"attributes", enter_attributes}, {"xattr", enter_xattr},
    {"rename", enter_rename},       {"unlinked", enter_unlinked},     {"tmpfile", enter_tmpfile},
    {"directory", enter_directory}, {"hammer", enter_hammer},         {NULL, NULL},
};

int main(int argc, char **argv)
{
    static const char *const everywhere[] = {"names",     "attributes", "xattr",
                                             "rename",    "unlinked",   "tmpfile",
                                             "directory", "hammer",     NULL};
    test_mount_init(&argc, &argv, clients);
    test_add_everywhere(everywhere);
    return g_test_run();
}
