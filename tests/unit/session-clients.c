/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the clients of a session's tests do with a mount: see session-clients.h. */
#include "session-clients.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/null/null.h"

static const size_t io_sizes[] = {1, 511, 4096, 5000, 65536, 131072, 1048576};

/* FILE: read it in many sizes at many offsets; everything must be zero. */
static int client_read(char **args)
{
    static char buf[1048576];
    int fd = open(args[0], O_RDONLY);

    if (fd < 0) {
        return 1;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(io_sizes); i++) {
        const off_t offsets[] = {0, 4095, FS_NULL_FILE_SIZE / 2, FS_NULL_FILE_SIZE - 1000000};
        for (size_t j = 0; j < G_N_ELEMENTS(offsets); j++) {
            ssize_t want = MIN((ssize_t)io_sizes[i], FS_NULL_FILE_SIZE - offsets[j]);
            memset(buf, 1, sizeof(buf));
            if (pread(fd, buf, io_sizes[i], offsets[j]) != want) {
                return 2;
            }
            for (ssize_t k = 0; k < want; k++) {
                if (buf[k] != 0) {
                    return 3;
                }
            }
        }
    }
    return pread(fd, buf, 1, FS_NULL_FILE_SIZE) == 0 ? 0 : 4;
}

/* FILE: write it in many sizes, then fsync. */
static int client_write(char **args)
{
    static char buf[1048576];
    int fd = open(args[0], O_RDWR);

    if (fd < 0) {
        return 1;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(io_sizes); i++) {
        if (pwrite(fd, buf, io_sizes[i], 4095) != (ssize_t)io_sizes[i]) {
            return 2;
        }
    }
    return fsync(fd) == 0 && close(fd) == 0 ? 0 : 3;
}

/* DIR: the four files of fs/null are there, with their sizes. */
static int client_list(char **args)
{
    DIR *dir = opendir(args[0]);
    unsigned files = 0;
    struct dirent *entry;

    if (dir == NULL) {
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct stat attr;
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (fstatat(dirfd(dir), entry->d_name, &attr, 0) < 0 || attr.st_size != FS_NULL_FILE_SIZE ||
            attr.st_ino != entry->d_ino) {
            return 2;
        }
        files++;
    }
    closedir(dir);
    return files == 4 ? 0 : 3;
}

/* FILE: statx tells the birth time, which GETATTR cannot. */
static int client_statx(char **args)
{
    struct statx stx;

    if (statx(AT_FDCWD, args[0], AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &stx) < 0) {
        return 1;
    }
    if (stx.stx_size != (uint64_t)FS_NULL_FILE_SIZE || stx.stx_mode != (S_IFREG | 0666)) {
        return 2;
    }
    return stx.stx_mask & STATX_BTIME && stx.stx_btime.tv_sec > 0 ? 0 : 3;
}

/* FILE: keep it open until released; 0 if it could still be read then. */
static int client_hold(char **args)
{
    char byte;
    int fd = open(args[0], O_RDONLY);

    test_client_started();
    test_client_wait_released();
    return fd >= 0 && pread(fd, &byte, 1, 0) == 1 ? 0 : 1;
}

typedef struct Load {
    const char *path;
    unsigned started; /* atomic: threads that have done some I/O */
    bool stop;        /* atomic */
    int failed;       /* atomic; errno */
} Load;

static void *load_thread(void *opaque)
{
    static __thread char buf[65536];
    Load *load = opaque;
    int fd = open(load->path, O_RDWR);
    bool started = false;

    while (!__atomic_load_n(&load->stop, __ATOMIC_RELAXED)) {
        if (fd < 0 || pread(fd, buf, 4096, 4096) != 4096 || pwrite(fd, buf, sizeof(buf), 0) < 0) {
            __atomic_store_n(&load->failed, errno, __ATOMIC_RELAXED);
            break;
        }
        if (!started) {
            started = true;
            __atomic_fetch_add(&load->started, 1, __ATOMIC_RELAXED);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return NULL;
}

/* FILE: sixteen threads read and write it until released; errno of a failure, or 0. */
static int client_load(char **args)
{
    pthread_t threads[16];
    Load load = {.path = args[0]};

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        pthread_create(&threads[i], NULL, load_thread, &load);
    }
    while (__atomic_load_n(&load.started, __ATOMIC_RELAXED) < G_N_ELEMENTS(threads)) {
        usleep(1000);
    }
    test_client_started();
    test_client_wait_released();
    __atomic_store_n(&load.stop, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    return load.failed;
}

/* DIR: unmount it as umount(8) would. */
static int client_unmount(char **args)
{
    return umount2(args[0], 0) == 0 ? 0 : errno;
}

/* DIR: unmount it as umount -l would. */
static int client_unmount_lazily(char **args)
{
    return umount2(args[0], MNT_DETACH) == 0 ? 0 : errno;
}

static void ignore_signal(int signal_number)
{
}

/* FILE: a read that a signal interrupts, one that comes after it has begun; errno of the read. */
static int client_interrupted_read(char **args)
{
    const struct sigaction action = {.sa_handler = ignore_signal};
    char byte;
    int fd = open(args[0], O_RDONLY);

    if (fd < 0) {
        return 255;
    }
    sigaction(SIGALRM, &action, NULL);
    ualarm(100000, 100000);
    return read(fd, &byte, 1) < 0 ? errno : 0;
}

/* FILE: read one byte; errno or 0. */
static int client_read_byte(char **args)
{
    char byte;
    int fd = open(args[0], O_RDONLY);

    test_client_started();
    return fd >= 0 && read(fd, &byte, 1) >= 0 ? 0 : errno;
}

/* FILE: write one byte as a user without CAP_FSETID. */
static int client_write_byte(char **args)
{
    int fd = open(args[0], O_WRONLY);

    if (fd < 0 || setresuid(1, 1, 1) < 0) {
        return 255;
    }
    return write(fd, "x", 1) == 1 ? 0 : errno;
}

/* DIR: make an unnamed file. */
static int client_tmpfile(char **args)
{
    struct stat attr;
    int fd = open(args[0], O_TMPFILE | O_RDWR, 0640);

    if (fd < 0) {
        return errno;
    }
    return fstat(fd, &attr) == 0 && attr.st_mode == (S_IFREG | 0640) ? 0 : 255;
}

/* FILE: sixteen threads read 1 MiB at a time, a few times. */
static void *big_read_thread(void *opaque)
{
    char *buf = malloc(1048576);
    int fd = open(opaque, O_RDONLY);

    for (unsigned i = 0; i < 20; i++) {
        if (pread(fd, buf, 1048576, 0) != 1048576) {
            abort();
        }
    }
    close(fd);
    free(buf);
    return NULL;
}

static int client_big_reads(char **args)
{
    pthread_t threads[16];

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        pthread_create(&threads[i], NULL, big_read_thread, args[0]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}

const TestClient session_clients[] = {
    {"big-reads", client_big_reads},
    {"hold", client_hold},
    {"interrupted-read", client_interrupted_read},
    {"list", client_list},
    {"load", client_load},
    {"read", client_read},
    {"read-byte", client_read_byte},
    {"statx", client_statx},
    {"tmpfile", client_tmpfile},
    {"unmount", client_unmount},
    {"unmount-lazily", client_unmount_lazily},
    {"write", client_write},
    {"write-byte", client_write_byte},
    {NULL, NULL},
};
