/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading, writing and space of the passthrough file system, on real mounts. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "passthrough-util.h"

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

    /* an unaligned tail: through the page cache; the kernel leaves it to the source's rules */
    int tail = fd;
    if (args[2] && strcmp(args[2], "kernel-io") == 0) {
        tail = on_mount("file", O_RDWR);
    }
    CHECK(pwrite(tail, data, 1000, SIZE) == 1000);
    CHECK(tail == fd || close(tail) == 0);
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
    if (args[2]) {
        CHECK(lseek(fd, 0, SEEK_HOLE) == 65536 && lseek(fd, 70000, SEEK_DATA) == 65536 + 131072);
    } else { /* with writeback all is data */
        CHECK(lseek(fd, 0, SEEK_HOLE) == MIB && lseek(fd, 70000, SEEK_DATA) == 70000);
    }
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

/* --- the tests --- */

TEST_CLIENT(data)
TEST_CLIENT(append)
TEST_CLIENT(mmap)
TEST_CLIENT(direct)
TEST_CLIENT(space)
TEST_CLIENT(fsx)
TEST_CLIENT(huge)

static const TestClient clients[] = {
    {"data", enter_data},   {"append", enter_append},
    {"mmap", enter_mmap},   {"direct", enter_direct},
    {"space", enter_space}, {"fsx", enter_fsx},
    {"huge", enter_huge},   {NULL, NULL},
};

static void test_huge(void)
{
    Served served = {0};
    FsSessionStats stats;
    test_serve(&served, &test_modes[MODE_AUTO]);
    g_assert_cmpint(test_run_client(&served, "huge", NULL), ==, 0);
    fs_session_get_stats(served.mount.session, &stats);
    g_assert_cmpuint(stats.offloaded, ==, 2);
    test_serve_end(&served);
}

/* A file system that is nothing but memory has no device to be direct to: no way by the ring. */
static void test_direct_in_memory(void)
{
    Served served = {0};
    FsPassthroughParams params;
    FsPassthroughStats stats;
    struct statfs sfs;
    char path[] = "/dev/shm/sluice-source-XXXXXX";
    if (statfs("/dev/shm", &sfs) < 0 || sfs.f_type != TMPFS_MAGIC || !g_mkdtemp_full(path, 0755)) {
        g_test_skip("no tmpfs on /dev/shm");
        return;
    }
    served.source = g_strdup(path);
    fs_passthrough_params_init(&params);
    params.source = path;
    test_serve_params(&served, &params, 1);
    g_assert_cmpint(test_run_client(&served, "direct", NULL), ==, 0);
    fs_passthrough_get_stats(served.pt, &stats);
    g_assert_cmpuint(stats.reads_ring, ==, 0);
    g_assert_cmpuint(stats.writes_ring, ==, 0);
    g_assert_cmpuint(stats.reads_inline, >, 0);
    g_assert_cmpuint(stats.writes_inline, >, 0);
    test_serve_end(&served);
}

int main(int argc, char **argv)
{
    static const char *const everywhere[] = {"data",  "append", "mmap", "direct",
                                             "space", "fsx",    NULL};
    test_mount_init(&argc, &argv, clients);
    g_test_add_func("/passthrough/huge-files-on-helpers", test_huge);
    g_test_add_func("/passthrough/direct-in-memory-is-inline", test_direct_in_memory);
    test_add_everywhere(everywhere);
    test_add_kernel_io(everywhere);
    return g_test_run();
}
