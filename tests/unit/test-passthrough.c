/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The passthrough file system on real mounts (fs/passthrough).
 *
 * Each client below works in a directory of its own on the mount and compares
 * with the same directory of the source. It is run on every mount of the table
 * modes[], so whatever holds must hold with each way of caching.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "fs/passthrough/passthrough.h"
#include "mount-util.h"

/* In a client: give up, naming the place. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "# line %d: %s (errno %d, %s)\n", __LINE__, #condition, errno,         \
                    strerror(errno));                                                              \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The call fails with exactly this error. */
#define CHECK_ERROR(call, wanted)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long result_ = (long)(call);                                                               \
        CHECK(result_ < 0 && errno == (wanted));                                                   \
    } while (0)

static const char *mount_dir;  /* the client's directory on the mount */
static const char *source_dir; /* the same directory of the source */

static int on_mount(const char *name, int flags)
{
    g_autofree char *path = g_build_filename(mount_dir, name, NULL);
    return open(path, flags | O_CLOEXEC, 0644);
}

static int on_source(const char *name, int flags)
{
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    return open(path, flags | O_CLOEXEC, 0644);
}

/* Whether a file of the source holds exactly these bytes. */
static bool source_is(const char *name, const void *data, size_t length)
{
    g_autofree char *path = g_build_filename(source_dir, name, NULL);
    g_autofree char *content = NULL;
    gsize got = 0;
    return g_file_get_contents(path, &content, &got, NULL) && got == length &&
           memcmp(content, data, length) == 0;
}

static void fill(unsigned char *buffer, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++) {
        buffer[i] = (unsigned char)((i * 2654435761u + seed * 40503u) >> 13);
    }
}

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

/* --- data --- */

static int client_data(char **args)
{
    enum { SIZE = 3 * 1024 * 1024 + 123 };
    static const size_t sizes[] = {1, 511, 4096, 5000, 131072, 1048576, 2000000};
    g_autofree unsigned char *data = g_malloc(SIZE);
    g_autofree unsigned char *buffer = g_malloc(SIZE);
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0);
    fill(data, SIZE, 1);
    for (size_t offset = 0, i = 0; offset < SIZE; i++) {
        size_t step = MIN(sizes[i % G_N_ELEMENTS(sizes)], SIZE - offset);
        CHECK(pwrite(fd, data + offset, step, (off_t)offset) == (ssize_t)step);
        offset += step;
    }
    CHECK(fdatasync(fd) == 0 && source_is("file", data, SIZE));
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (off_t offset = 0; offset < SIZE; offset += SIZE / 3) {
            ssize_t want = MIN((ssize_t)sizes[i], SIZE - offset);
            CHECK(pread(fd, buffer, sizes[i], offset) == want);
            CHECK(memcmp(buffer, data + offset, (size_t)want) == 0);
        }
    }
    CHECK(pread(fd, buffer, 10, SIZE) == 0 && pread(fd, buffer, 10, SIZE + 100000) == 0);
    CHECK_ERROR(pread(fd, buffer, 10, -1), EINVAL);

    /* from a cold cache below as well: this goes through the ring */
    int source = on_source("file", O_RDONLY);
    CHECK(fsync(source) == 0 && posix_fadvise(source, 0, 0, POSIX_FADV_DONTNEED) == 0);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    for (size_t offset = 0; offset < SIZE;) {
        ssize_t got = pread(fd, buffer + offset, SIZE - offset, (off_t)offset);
        CHECK(got > 0);
        offset += (size_t)got;
    }
    CHECK(memcmp(buffer, data, SIZE) == 0);
    close(source);
    close(fd);

    /* read only, write only */
    fd = on_mount("file", O_WRONLY);
    CHECK_ERROR(pread(fd, buffer, 1, 0), EBADF);
    CHECK(pwrite(fd, "Z", 1, 1) == 1 && close(fd) == 0);
    fd = on_mount("file", O_RDONLY);
    CHECK_ERROR(pwrite(fd, "Z", 1, 0), EBADF);
    CHECK(pread(fd, buffer, 3, 0) == 3 && buffer[0] == data[0] && buffer[1] == 'Z');
    close(fd);
    return 0;
}

static int client_append(char **args)
{
    int a = on_mount("log", O_CREAT | O_WRONLY | O_APPEND);
    int b = on_mount("log", O_WRONLY | O_APPEND);
    CHECK(a >= 0 && b >= 0);
    CHECK(write(a, "one ", 4) == 4 && write(b, "two ", 4) == 4 && write(a, "three ", 6) == 6);
    /* the flag may come and go while the file is open */
    CHECK(fcntl(a, F_SETFL, 0) == 0 && pwrite(a, "ONE", 3, 0) == 3);
    CHECK(fcntl(a, F_SETFL, O_APPEND) == 0 && write(a, "four", 4) == 4);
    CHECK(fsync(a) == 0 && close(a) == 0 && close(b) == 0);
    CHECK(source_is("log", "ONE two three four", 18));
    int sync = on_mount("log", O_WRONLY | O_SYNC | O_APPEND);
    CHECK(write(sync, "!", 1) == 1 && source_is("log", "ONE two three four!", 19));
    return close(sync);
}

static int client_mmap(char **args)
{
    enum { SIZE = 64 * 1024 + 100 };
    static unsigned char data[SIZE];
    int fd = on_mount("file", O_CREAT | O_RDWR);
    fill(data, SIZE, 2);
    CHECK(write(fd, data, SIZE) == SIZE);
    unsigned char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED && memcmp(map, data, SIZE) == 0);
    memcpy(map + 5000, "through the map", 15);
    memcpy(data + 5000, "through the map", 15);
    map[SIZE - 1] = data[SIZE - 1] = 'E';
    CHECK(msync(map, SIZE, MS_SYNC) == 0 && source_is("file", data, SIZE));
    map[0] = data[0] = 'B';
    CHECK(close(fd) == 0 && munmap(map, SIZE) == 0);
    fd = on_mount("file", O_RDONLY);
    CHECK(fsync(fd) == 0 && close(fd) == 0 && source_is("file", data, SIZE));
    return 0;
}

/* O_DIRECT of the client, aligned and not, mixed with a map of the same open file. */
static int client_direct(char **args)
{
    enum { SIZE = 256 * 1024 };
    unsigned char *data, *buffer;
    CHECK(posix_memalign((void **)&data, 4096, SIZE) == 0);
    CHECK(posix_memalign((void **)&buffer, 4096, SIZE) == 0);
    fill(data, SIZE, 3);
    int fd = on_mount("file", O_CREAT | O_RDWR | O_DIRECT);
    CHECK(fd >= 0 && pwrite(fd, data, SIZE, 0) == SIZE && source_is("file", data, SIZE));
    CHECK(pread(fd, buffer, SIZE, 0) == SIZE && memcmp(buffer, data, SIZE) == 0);
    CHECK(pread(fd, buffer, 4096, SIZE - 4096) == 4096);
    CHECK(memcmp(buffer, data + SIZE - 4096, 4096) == 0);

    /* an unaligned tail: through the page cache */
    CHECK(pwrite(fd, data, 1000, SIZE) == 1000);
    CHECK(pread(fd, buffer, 4096, SIZE) == 1000 && memcmp(buffer, data, 1000) == 0);
    CHECK(pread(fd, buffer, 8192, SIZE - 4096) == 4096 + 1000);

    unsigned char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) { /* Linux 6.6 */
        memset(map, 'M', 5000);
        memset(data, 'M', 5000);
        CHECK(msync(map, SIZE, MS_SYNC) == 0);
        CHECK(pread(fd, buffer, 8192, 0) == 8192 && memcmp(buffer, data, 8192) == 0);
        memset(data + 8192, 'D', 4096);
        CHECK(pwrite(fd, data + 8192, 4096, 8192) == 4096 && map[8192] == 'D');
        CHECK(munmap(map, SIZE) == 0);
    }
    CHECK(ftruncate(fd, SIZE) == 0 && fsync(fd) == 0 && close(fd) == 0);
    CHECK(source_is("file", data, SIZE));
    free(data);
    free(buffer);
    return 0;
}

static int client_space(char **args)
{
    enum { MIB = 1024 * 1024 };
    struct stat st, source;
    g_autofree char *source_file = g_build_filename(source_dir, "file", NULL);
    g_autofree unsigned char *data = g_malloc(MIB);
    int fd = on_mount("file", O_CREAT | O_RDWR);
    fill(data, MIB, 4);
    CHECK(fd >= 0 && pwrite(fd, data, MIB, 0) == MIB && fsync(fd) == 0);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 131072) == 0);
    memset(data + 65536, 0, 131072);
    CHECK(source_is("file", data, MIB));
    CHECK(lseek(fd, 0, SEEK_HOLE) == 65536 && lseek(fd, 70000, SEEK_DATA) == 65536 + 131072);
    CHECK(lseek(fd, 200000, SEEK_HOLE) == MIB);
    CHECK_ERROR(lseek(fd, MIB, SEEK_DATA), ENXIO);
    CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 300000, 1000) == 0);
    memset(data + 300000, 0, 1000);
    CHECK(source_is("file", data, MIB));
    CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, MIB, MIB) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_size == MIB && stat(source_file, &source) == 0 &&
          source.st_blocks >= 2 * 2048 - 256);
    CHECK(fallocate(fd, 0, 0, 2 * MIB) == 0 && fstat(fd, &st) == 0 && st.st_size == 2 * MIB);
    CHECK(ftruncate(fd, MIB) == 0);

    /* copies: within the limit of a worker, above it, past the end, onto itself */
    static const size_t sizes[] = {1000, 65536, 65537, 900000, 2 * MIB};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        int out = on_mount("copy", O_CREAT | O_RDWR | O_TRUNC);
        off_t from = 100, to = 0;
        size_t want = MIN(sizes[i], MIB - 100), done = 0;
        while (done < want) {
            ssize_t got = copy_file_range(fd, &from, out, &to, sizes[i] - done, 0);
            CHECK(got > 0);
            done += (size_t)got;
        }
        CHECK(done == want && fsync(out) == 0 && close(out) == 0);
        CHECK(source_is("copy", data + 100, want));
    }
    off_t from = 0, to = 4 * MIB;
    CHECK(copy_file_range(fd, &from, fd, &to, 100000, 0) > 0);
    return close(fd);
}

/* A file of random operations, on the mount and in memory. */
static int client_fsx(char **args)
{
    enum { SIZE = 200 * 1024, ROUNDS = 600 };
    static unsigned char model[SIZE], data[SIZE], buffer[SIZE];
    unsigned char *map;
    size_t size = 0;
    GRand *random = g_rand_new_with_seed(20260101);
    int fds[2] = {on_mount("file", O_CREAT | O_RDWR), on_mount("file", O_RDWR)};
    CHECK(fds[0] >= 0 && fds[1] >= 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        int fd = fds[g_rand_int_range(random, 0, 2)];
        size_t offset = (size_t)g_rand_int_range(random, 0, SIZE - 1);
        size_t length = (size_t)g_rand_int_range(random, 1, 30000);
        length = MIN(length, SIZE - offset);
        switch (g_rand_int_range(random, 0, 7)) {
        case 0:
        case 1:
            fill(data, length, i);
            CHECK(pwrite(fd, data, length, (off_t)offset) == (ssize_t)length);
            memcpy(model + offset, data, length);
            size = MAX(size, offset + length);
            break;
        case 2:
            CHECK(ftruncate(fd, (off_t)offset) == 0);
            if (offset < size) {
                memset(model + offset, 0, size - offset);
            }
            size = offset;
            break;
        case 3:
            length = offset < size ? MIN(length, size - offset) : 0;
            if (length == 0) {
                break;
            }
            map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            CHECK(map != MAP_FAILED);
            CHECK(memcmp(map + offset, model + offset, length) == 0);
            fill(model + offset, length, i);
            memcpy(map + offset, model + offset, length);
            CHECK(msync(map, size, MS_SYNC) == 0 && munmap(map, size) == 0);
            break;
        case 4:
            CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                            (off_t)length) == 0);
            memset(model + offset, 0, length);
            break;
        case 5: {
            off_t from = (off_t)offset, to = g_rand_int_range(random, 0, SIZE - 1);
            length = offset < size ? MIN(length, size - offset) : 0;
            length = MIN(length, (size_t)(SIZE - to));
            bool overlap = to < from + (off_t)length && from < to + (off_t)length;
            if (length == 0 || overlap) {
                break;
            }
            memcpy(data, model + from, length);
            memcpy(model + to, data, length);
            size = MAX(size, (size_t)to + length);
            while (length) {
                ssize_t got = copy_file_range(fd, &from, fds[0], &to, length, 0);
                CHECK(got > 0);
                length -= (size_t)got;
            }
            break;
        }
        default: {
            ssize_t got = pread(fd, buffer, length, (off_t)offset);
            ssize_t want = offset < size ? (ssize_t)MIN(length, size - offset) : 0;
            CHECK(got == want && memcmp(buffer, model + offset, (size_t)want) == 0);
        }
        }
        struct stat st;
        CHECK(fstat(fd, &st) == 0 && st.st_size == (off_t)size);
    }
    CHECK(fsync(fds[0]) == 0 && close(fds[0]) == 0 && close(fds[1]) == 0);
    CHECK(source_is("file", model, size));
    g_rand_free(random);
    return 0;
}

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

/* --- what a worker must not do itself --- */

static int lease_pipe[2];

/* The kernel wants the lease back: say so, and take some time over it. */
static void lease_broken(int signal_number)
{
    ssize_t ignored = write(lease_pipe[1], "b", 1);
    (void)ignored;
}

/*
 * Another process holds a lease on a file of the source. Opening or truncating it
 * waits for that process, and nobody else does: the holder itself uses the mount
 * before it lets go.
 */
static int lease_holder(int ready)
{
    struct sigaction action = {.sa_handler = lease_broken};
    struct stat st;
    char byte;
    CHECK(sigaction(SIGIO, &action, NULL) == 0 && pipe(lease_pipe) == 0);
    for (unsigned i = 0; i < 2; i++) {
        int fd = on_source("file", O_RDONLY);
        CHECK(fd >= 0);
        /* not while a writer has it open, and RELEASE comes some time after close */
        for (unsigned j = 0; fcntl(fd, F_SETLEASE, F_RDLCK) < 0; j++) {
            CHECK(errno == EAGAIN && j < 1000);
            g_usleep(5000);
        }
        CHECK(write(ready, "r", 1) == 1);
        while (read(lease_pipe[0], &byte, 1) != 1) {
        }
        CHECK(stat("other", &st) == 0 && rename("other", "renamed") == 0);
        CHECK(rename("renamed", "other") == 0 && close(fd) == 0);
    }
    return 0;
}

static int client_lease(char **args)
{
    int ready[2], status;
    char byte;
    CHECK(pipe(ready) == 0 && close(on_mount("file", O_CREAT | O_RDWR)) == 0);
    CHECK(close(on_mount("other", O_CREAT | O_RDWR)) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        _exit(lease_holder(ready[1]));
    }
    close(ready[1]);
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK_ERROR(on_mount("file", O_RDWR | O_NONBLOCK), EWOULDBLOCK);
    int fd = on_mount("file", O_RDWR);
    CHECK(fd >= 0 && write(fd, "12345", 5) == 5 && close(fd) == 0);
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(truncate("file", 3) == 0);
    CHECK(waitpid(holder, &status, 0) == holder && status == 0);
    CHECK(source_is("file", "123", 3));
    return 0;
}

/* Freeing much space is a helper's work. */
static int client_huge(char **args)
{
    enum { HUGE_SIZE = 80 * 1024 * 1024 };
    static const char *const names[] = {"truncated", "reopened", "unlinked"};
    struct stat st;
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        int fd = on_mount(names[i], O_CREAT | O_RDWR);
        CHECK(fd >= 0 && fallocate(fd, 0, 0, HUGE_SIZE) == 0 && close(fd) == 0);
    }
    CHECK(truncate("truncated", 10) == 0 && stat("truncated", &st) == 0 && st.st_size == 10);
    int fd = on_mount("reopened", O_WRONLY | O_TRUNC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 0 && close(fd) == 0);
    CHECK(unlink("unlinked") == 0);
    CHECK_ERROR(stat("unlinked", &st), ENOENT);
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

/* --- locks --- */

static int lock_range(int fd, short type, off_t start, off_t length, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, wait ? F_SETLKW : F_SETLK, &lock);
}

static void ignore_alarm(int signal_number)
{
}

/* Locks of this mount's users among each other: also true for locks=local. */
static int client_locks(char **args)
{
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && lock_range(fd, F_WRLCK, 0, 100, false) == 0);
    CHECK(lock_range(fd, F_RDLCK, 50, 10, false) == 0); /* one's own never conflict */
    pid_t child = fork();
    if (child == 0) {
        int other = on_mount("file", O_RDWR);
        CHECK_ERROR(lock_range(other, F_WRLCK, 50, 1, false), EAGAIN);
        CHECK(lock_range(other, F_RDLCK, 50, 1, false) == 0);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
        CHECK(fcntl(other, F_GETLK, &lock) == 0 && lock.l_type == F_WRLCK);
        CHECK(lock.l_pid == getppid() && lock.l_start == 0);
        CHECK(lock_range(other, F_WRLCK, 100, 50, false) == 0);
        /* interrupted while it waits */
        struct sigaction action = {.sa_handler = ignore_alarm};
        sigaction(SIGALRM, &action, NULL);
        struct itimerval in = {.it_value = {.tv_usec = 150000}};
        setitimer(ITIMER_REAL, &in, NULL);
        CHECK_ERROR(lock_range(other, F_WRLCK, 0, 1, true), EINTR);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(lock_range(fd, F_WRLCK, 100, 50, false) == 0); /* the child's went with it */

    /* closing any descriptor of the file drops the process's locks */
    int second = on_mount("file", O_RDWR);
    CHECK(close(second) == 0);
    child = fork();
    if (child == 0) {
        int other = on_mount("file", O_RDWR);
        CHECK(lock_range(other, F_WRLCK, 0, 100, false) == 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    /* flock: belongs to the open file */
    CHECK(flock(fd, LOCK_EX) == 0);
    second = on_mount("file", O_RDWR);
    CHECK_ERROR(flock(second, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_ERROR(flock(second, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(fd, LOCK_SH) == 0 && flock(second, LOCK_SH | LOCK_NB) == 0);
    CHECK(close(fd) == 0 && flock(second, LOCK_EX) == 0 && close(second) == 0);
    return 0;
}

/*
 * More processes wait for one lock than there are threads of any kind; the
 * holder must still be able to do everything, and then each gets its turn.
 */
static int client_lock_crowd(char **args)
{
    enum { CROWD = 40 };
    pid_t waiters[CROWD];
    char line[16] = "";
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0 && lock_range(fd, F_WRLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < CROWD; i++) {
        waiters[i] = fork();
        if (waiters[i] == 0) {
            int own = on_mount("file", O_RDWR);
            CHECK(own >= 0);
            CHECK(i % 2 ? flock(own, LOCK_EX) == 0 : lock_range(own, F_WRLCK, 0, 0, true) == 0);
            int counter = on_mount(i % 2 ? "flocked" : "posix", O_RDWR);
            char number[16] = "";
            CHECK(pread(counter, number, sizeof(number) - 1, 0) >= 0);
            snprintf(number, sizeof(number), "%d", atoi(number) + 1);
            CHECK(pwrite(counter, number, strlen(number), 0) == (ssize_t)strlen(number));
            CHECK(fsync(counter) == 0 && close(counter) == 0);
            _exit(0); /* closes, which unlocks */
        }
    }
    g_usleep(300 * 1000);
    int flocked = on_mount("flocked", O_CREAT | O_RDWR),
        posix = on_mount("posix", O_CREAT | O_RDWR);
    CHECK(flocked >= 0 && posix >= 0 && mkdir("meanwhile", 0755) == 0);
    CHECK(copy_file_range(flocked, NULL, posix, NULL, 100000, 0) == 0);
    CHECK(flock(fd, LOCK_UN) == 0 && lock_range(fd, F_UNLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < CROWD; i++) {
        int status;
        CHECK(waitpid(waiters[i], &status, 0) == waiters[i] && status == 0);
    }
    CHECK(pread(flocked, line, 15, 0) > 0 && atoi(line) == CROWD / 2);
    CHECK(pread(posix, line, 15, 0) > 0 && atoi(line) == CROWD / 2);
    return 0;
}

/* locks=remote: the other users of the source take part. */
static int client_lock_source(char **args)
{
    int ours = on_mount("file", O_CREAT | O_RDWR), theirs = on_source("file", O_RDWR);
    CHECK(ours >= 0 && theirs >= 0);
    CHECK(flock(theirs, LOCK_EX) == 0);
    CHECK_ERROR(flock(ours, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(theirs, LOCK_UN) == 0 && flock(ours, LOCK_EX | LOCK_NB) == 0);
    CHECK_ERROR(flock(theirs, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK(flock(ours, LOCK_UN) == 0);

    CHECK(lock_range(ours, F_WRLCK, 10, 10, false) == 0);
    CHECK_ERROR(lock_range(theirs, F_RDLCK, 15, 1, false), EAGAIN);
    CHECK(lock_range(theirs, F_RDLCK, 20, 1, false) == 0);
    CHECK_ERROR(lock_range(ours, F_WRLCK, 20, 1, false), EAGAIN);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 20, .l_len = 5};
    CHECK(fcntl(ours, F_GETLK, &lock) == 0 && lock.l_type == F_RDLCK && lock.l_start == 20);
    CHECK(lock.l_len == 1 && lock.l_pid == getpid());

    /* somebody outside lets go while we wait */
    close(theirs);
    pid_t child = fork();
    if (child == 0) {
        int other = on_source("file", O_RDWR);
        CHECK(flock(other, LOCK_EX) == 0);
        g_usleep(400 * 1000);
        _exit(0);
    }
    g_usleep(150 * 1000);
    CHECK(flock(ours, LOCK_EX) == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}

/* Waits for locks that are never released, until the connection goes. */
static int client_lock_forever(char **args)
{
    int fd = on_mount("file", O_CREAT | O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0 && lock_range(fd, F_WRLCK, 0, 0, false) == 0);
    for (unsigned i = 0; i < 6; i++) {
        if (fork() == 0) {
            int own = on_mount("file", O_RDWR);
            _exit((i % 2 ? flock(own, LOCK_EX) : lock_range(own, F_WRLCK, 0, 0, true)) == 0);
        }
    }
    g_usleep(200 * 1000);
    test_client_started();
    for (unsigned i = 0; i < 6; i++) {
        int status;
        CHECK(wait(&status) > 0 && status == 0);
    }
    return 0;
}

/* --- the harness --- */

typedef struct Mode {
    const char *name;
    FsPassthroughCache cache;
    bool writeback;
    FsPassthroughLocks locks;
    unsigned threads;
} Mode;

static const Mode modes[] = {
    {"auto", FS_PASSTHROUGH_CACHE_AUTO, false, FS_PASSTHROUGH_LOCKS_LOCAL, 1},
    {"none-4-threads", FS_PASSTHROUGH_CACHE_NONE, false, FS_PASSTHROUGH_LOCKS_REMOTE, 4},
    {"always-writeback", FS_PASSTHROUGH_CACHE_ALWAYS, true, FS_PASSTHROUGH_LOCKS_REMOTE, 2},
};

static int client_self_below(char **args);
static int client_submount(char **args);
static int client_descriptors(char **args);

#define CLIENTS(X)                                                                                 \
    X(names)                                                                                       \
    X(attributes)                                                                                  \
    X(xattr)                                                                                       \
    X(rename)                                                                                      \
    X(unlinked)                                                                                    \
    X(tmpfile)                                                                                     \
    X(directory)                                                                                   \
    X(data)                                                                                        \
    X(append) X(mmap) X(direct) X(space) X(fsx) X(identity) X(set_id) X(inside) X(hammer) X(lease) \
        X(huge) X(locks) X(lock_crowd) X(lock_forever) X(lock_source) X(self_below) X(submount)    \
            X(descriptors)

/* Each client first goes to the directories that its arguments name. */
#define DEFINE_ENTRY(name)                                                                         \
    static int enter_##name(char **args)                                                           \
    {                                                                                              \
        mount_dir = args[0];                                                                       \
        source_dir = args[1];                                                                      \
        CHECK(chdir(mount_dir) == 0);                                                              \
        return client_##name(args);                                                                \
    }
CLIENTS(DEFINE_ENTRY)

#define LIST_ENTRY(name) {#name, enter_##name},
static const TestClient clients[] = {CLIENTS(LIST_ENTRY){NULL, NULL}};

typedef struct Served {
    char *source;
    FsPassthrough *pt;
    TestMount mount;
} Served;

static void serve_params(Served *served, const FsPassthroughParams *pt_params, unsigned threads)
{
    GError *error = NULL;
    FsSessionParams params;
    served->pt = fs_passthrough_new(pt_params, &error);
    g_assert_no_error(error);
    test_mount_params(&params, fs_passthrough_filesystem(), served->pt);
    params.threads = threads;
    params.mount_options = "allow_other,default_permissions,dev,suid";
    test_mount_new(&served->mount, &params);
    fs_passthrough_attach_session(served->pt, served->mount.session);
    test_mount_start(&served->mount);
}

static void serve(Served *served, const Mode *mode)
{
    GError *error = NULL;
    FsPassthroughParams params;
    served->source = g_dir_make_tmp("sluice source XXXXXX", &error);
    g_assert_no_error(error);
    g_assert_cmpint(chmod(served->source, 0755), ==, 0);
    fs_passthrough_params_init(&params);
    params.source = served->source;
    params.cache = mode->cache;
    params.writeback = mode->writeback;
    params.locks = mode->locks;
    serve_params(served, &params, mode->threads);
}

static void remove_tree(const char *path)
{
    const char *argv[] = {"rm", "-rf", path, NULL};
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

/* Every RELEASE arrives, but close(2) does not wait for it and an unmount drops it. */
static void wait_for_releases(Served *served)
{
    FsPassthroughStats stats;
    for (unsigned i = 0; i < 1000; i++) {
        fs_passthrough_get_stats(served->pt, &stats);
        if (stats.handles == 0) {
            return;
        }
        g_usleep(5000);
    }
    g_error("%u handles are still open", (unsigned)stats.handles);
}

static void serve_end(Served *served)
{
    wait_for_releases(served);
    test_mount_down(&served->mount);
    g_assert_cmpint(served->mount.error, ==, 0);
    fs_passthrough_free(served->pt);
    remove_tree(served->source);
    g_free(served->source);
}

static int run_client(Served *served, const char *name, const char *option)
{
    g_autofree char *below = g_build_filename(served->source, name, NULL);
    g_assert_cmpint(mkdir(below, 0755), ==, 0);
    g_autofree char *path = test_mount_path(&served->mount, name);
    return test_client_run(name, path, below, option);
}

typedef struct Case {
    const Mode *mode;
    const char *client;
} Case;

static void test_case(gconstpointer opaque)
{
    const Case *test = opaque;
    Served served = {0};
    serve(&served, test->mode);
    g_assert_cmpint(run_client(&served, test->client,
                               test->mode->cache != FS_PASSTHROUGH_CACHE_ALWAYS ? "fresh" : NULL),
                    ==, 0);
    serve_end(&served);
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
    serve_end(&served);
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
    serve_params(&served, &params, 1);
    g_assert_cmpint(test_client_run("submount", served.mount.dir, served.source, policy), ==, 0);
    wait_for_releases(&served);
    test_mount_down(&served.mount);
    fs_passthrough_free(served.pt);
    g_assert_cmpint(umount(sub), ==, 0);
    remove_tree(served.source);
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

static void test_huge(void)
{
    Served served = {0};
    FsSessionStats stats;
    serve(&served, &modes[0]);
    g_assert_cmpint(run_client(&served, "huge", NULL), ==, 0);
    fs_session_get_stats(served.mount.session, &stats);
    g_assert_cmpuint(stats.offloaded, ==, 2);
    serve_end(&served);
}

static void test_abort_with_waiters(void)
{
    Served served = {0};
    serve(&served, &modes[1]);
    g_autofree char *below = g_build_filename(served.source, "locks", NULL);
    g_assert_cmpint(mkdir(below, 0755), ==, 0);
    g_autofree char *path = test_mount_path(&served.mount, "locks");
    TestProcess *process = test_client_start("lock_forever", path, below, NULL);
    test_client_wait_started(process);
    test_mount_abort(&served.mount);
    g_assert_cmpint(test_client_join(process), ==, 0);
    test_mount_until(served.mount.ended);
    FsSessionStats stats;
    fs_session_get_stats(served.mount.session, &stats);
    g_assert_cmpuint(stats.in_flight, ==, 0);
    test_mount_free(&served.mount);
    fs_passthrough_free(served.pt);
    remove_tree(served.source);
    g_free(served.source);
}

static void test_descriptors(void)
{
    Served served = {0};
    struct rlimit before, small;
    serve(&served, &modes[2]);
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
    serve_end(&served);
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
    static const char *const everywhere[] = {
        "names",  "attributes", "xattr",  "rename", "unlinked",   "tmpfile", "directory",
        "data",   "append",     "mmap",   "direct", "space",      "fsx",     "identity",
        "set_id", "inside",     "hammer", "locks",  "lock_crowd", "lease",
    };
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/passthrough/bad-source", test_bad_source);
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        for (size_t i = 0; i < G_N_ELEMENTS(everywhere); i++) {
            Case *test = g_new(Case, 1);
            *test = (Case){&modes[m], everywhere[i]};
            g_autofree char *path =
                g_strdup_printf("/passthrough/%s/%s", modes[m].name, everywhere[i]);
            g_test_add_data_func_full(path, test, test_case, g_free);
        }
        if (modes[m].locks == FS_PASSTHROUGH_LOCKS_REMOTE) {
            Case *test = g_new(Case, 1);
            *test = (Case){&modes[m], "lock_source"};
            g_autofree char *path = g_strdup_printf("/passthrough/%s/lock_source", modes[m].name);
            g_test_add_data_func_full(path, test, test_case, g_free);
        }
    }
    g_test_add_func("/passthrough/mount-point-below-the-source", test_self_below);
    g_test_add_data_func("/passthrough/other-mounts/allow", "allow", test_submount);
    g_test_add_data_func("/passthrough/other-mounts/deny", "deny", test_submount);
    g_test_add_func("/passthrough/descriptors-run-out", test_descriptors);
    g_test_add_func("/passthrough/abort-with-lock-waiters", test_abort_with_waiters);
    g_test_add_func("/passthrough/huge-files-on-helpers", test_huge);
    return g_test_run();
}
