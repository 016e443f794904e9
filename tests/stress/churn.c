/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A mixed load on a directory: threads that create, write, read back, rename,
 * list and remove files of their own, each checking what it reads.
 *
 *   churn [--threads=N] [--seconds=N] DIRECTORY
 *
 * Exit status: 0 when the time is over and all was right; 3 when an operation
 * failed because the mount went away (ENOTCONN, ECONNABORTED, ECONNREFUSED,
 * EIO, ENODEV, ESHUTDOWN; ECANCELED for a request that was on its way over
 * io_uring to a daemon that is killed); 1 on any other failure or wrong data.
 * Prints the number of files made.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LENGTH_MAX (128 * 1024)

typedef struct Churn {
    const char *directory;
    time_t deadline;
    atomic_int status;
    atomic_ulong files;
} Churn;

typedef struct Worker {
    Churn *churn;
    pthread_t thread;
    unsigned index;
    uint64_t random;
    unsigned char written[LENGTH_MAX];
    unsigned char read[LENGTH_MAX];
    char directory[4096];
} Worker;

static bool mount_is_gone(int error)
{
    return error == ENOTCONN || error == ECONNABORTED || error == ECONNREFUSED || error == EIO ||
           error == ENODEV || error == ESHUTDOWN || error == ECANCELED;
}

/* Note a failed call; always false. */
static bool call_failed(Worker *worker, const char *what)
{
    int error = errno;
    fprintf(stderr, "churn: %s in %s: %s\n", what, worker->directory, strerror(error));
    atomic_store(&worker->churn->status, mount_is_gone(error) ? 3 : 1);
    return false;
}

static bool wrong_data(Worker *worker, const char *path)
{
    fprintf(stderr, "churn: wrong data in %s\n", path);
    atomic_store(&worker->churn->status, 1);
    return false;
}

static size_t random_below(Worker *worker, size_t bound)
{
    worker->random = worker->random * 6364136223846793005u + 1442695040888963407u;
    return (worker->random >> 33) % bound;
}

static bool transfer(Worker *worker, int fd, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, worker->written + done, length - done);
        if (n < 0) {
            return call_failed(worker, "write");
        }
        done += (size_t)n;
    }
    if (random_below(worker, 8) == 0 && fsync(fd) < 0) {
        return call_failed(worker, "fsync");
    }
    for (size_t done = 0; done < length;) {
        ssize_t n = pread(fd, worker->read + done, length - done, (off_t)done);
        if (n < 0) {
            return call_failed(worker, "read");
        }
        if (n == 0) {
            return wrong_data(worker, "a file that ends early");
        }
        done += (size_t)n;
    }
    if (memcmp(worker->written, worker->read, length) != 0) {
        return wrong_data(worker, worker->directory);
    }
    return true;
}

static bool list(Worker *worker, const char *expected)
{
    DIR *dir = opendir(worker->directory);
    if (!dir) {
        return call_failed(worker, "opendir");
    }
    bool found = false;
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir))) {
        found = found || strcmp(entry->d_name, expected) == 0;
    }
    int error = errno;
    closedir(dir);
    if (error) {
        errno = error;
        return call_failed(worker, "readdir");
    }
    return found || wrong_data(worker, "a listing without its file");
}

static bool one_file(Worker *worker, unsigned number)
{
    char path[sizeof(worker->directory) + 32], renamed[sizeof(worker->directory) + 32], name[32];
    snprintf(name, sizeof(name), "renamed-%u", number);
    snprintf(path, sizeof(path), "%s/file-%u", worker->directory, number);
    snprintf(renamed, sizeof(renamed), "%s/%s", worker->directory, name);

    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return call_failed(worker, "create");
    }
    size_t length = 1 + random_below(worker, LENGTH_MAX);
    memset(worker->written, (int)(number * 7 + worker->index), length);
    bool ok = transfer(worker, fd, length);
    if (close(fd) < 0 && ok) {
        ok = call_failed(worker, "close");
    }
    if (!ok) {
        return false;
    }
    if (rename(path, renamed) < 0) {
        return call_failed(worker, "rename");
    }
    struct stat st;
    if (stat(renamed, &st) < 0) {
        return call_failed(worker, "stat");
    }
    if ((size_t)st.st_size != length) {
        return wrong_data(worker, renamed);
    }
    if (!list(worker, name)) {
        return false;
    }
    if (unlink(renamed) < 0) {
        return call_failed(worker, "unlink");
    }
    atomic_fetch_add(&worker->churn->files, 1);
    return true;
}

static time_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

static void *work(void *opaque)
{
    Worker *worker = opaque;
    Churn *churn = worker->churn;
    snprintf(worker->directory, sizeof(worker->directory), "%s/churn-%d-%u", churn->directory,
             (int)getpid(), worker->index);
    if (mkdir(worker->directory, 0755) < 0) {
        call_failed(worker, "mkdir");
        return NULL;
    }
    for (unsigned number = 0; now() < churn->deadline && atomic_load(&churn->status) == 0;
         number++) {
        if (!one_file(worker, number)) {
            return NULL;
        }
    }
    if (atomic_load(&churn->status) == 0 && rmdir(worker->directory) < 0) {
        call_failed(worker, "rmdir");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    unsigned threads = 4, seconds = 5;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 't':
            threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || threads == 0 || seconds == 0) {
        fprintf(stderr, "usage: churn [--threads=N] [--seconds=N] DIRECTORY\n");
        return 2;
    }
    Churn churn = {.directory = argv[optind], .deadline = now() + (time_t)seconds};
    Worker *workers = calloc(threads, sizeof(*workers));
    if (!workers) {
        return 1;
    }
    for (unsigned i = 0; i < threads; i++) {
        Worker *worker = &workers[i];
        worker->churn = &churn;
        worker->index = i;
        worker->random = i + 1;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
            fprintf(stderr, "churn: out of threads\n");
            exit(1);
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    free(workers);
    printf("%lu files\n", atomic_load(&churn.files));
    return atomic_load(&churn.status);
}
