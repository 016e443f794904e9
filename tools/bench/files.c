/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-files: create, stat, read or unlink many small files and time each call.
 *
 * How it works: every client is a process with a directory of its own, so that
 * clients meet in the file system and not on a name. They start together once
 * all of them wait on a pipe, and write the time of each operation into shared
 * memory; the parent sorts the times and prints one JSON object. An operation is
 * what a program does to a file: create is open, write, close; read is open,
 * read, close.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_FILES   10000000
#define MOST_CLIENTS 256
#define MOST_BYTES   (1 << 20)

typedef struct {
    const char *operation;
    int directory; /* of this client */
    char *data;
    size_t size;
} Client;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int file_create(const Client *client, const char *name)
{
    int fd = openat(client->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool written;

    if (fd < 0) {
        return -1;
    }
    written = write(fd, client->data, client->size) == (ssize_t)client->size;
    return close(fd) == 0 && written ? 0 : -1;
}

static int file_read(const Client *client, const char *name)
{
    int fd = openat(client->directory, name, O_RDONLY | O_CLOEXEC);
    bool whole;

    if (fd < 0) {
        return -1;
    }
    whole = read(fd, client->data, client->size) == (ssize_t)client->size;
    return close(fd) == 0 && whole ? 0 : -1;
}

static int file_operation(const Client *client, const char *name)
{
    struct stat attributes;

    switch (client->operation[0]) {
    case 'c':
        return file_create(client, name);
    case 's':
        return fstatat(client->directory, name, &attributes, AT_SYMLINK_NOFOLLOW);
    case 'r':
        return file_read(client, name);
    default:
        return unlinkat(client->directory, name, 0);
    }
}

/* One client's files; returns the exit status of its process. */
static int client_run(const Client *client, int64_t files, uint64_t *times)
{
    char name[32];

    for (int64_t number = 0; number < files; number++) {
        int64_t start;

        snprintf(name, sizeof(name), "file-%" PRId64, number);
        start = now_ns();
        errno = 0;
        if (file_operation(client, name) != 0) {
            fprintf(stderr, "bench-files: %s %s: %s\n", client->operation, name,
                    errno ? strerror(errno) : "short");
            return 1;
        }
        times[number] = (uint64_t)(now_ns() - start);
    }
    return 0;
}

static int compare_times(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static uint64_t percentile(const uint64_t *sorted, int64_t count, double percent)
{
    int64_t index = (int64_t)((double)count * percent / 100);

    return sorted[index < count ? index : count - 1];
}

/* The number in TEXT, 1 to MOST; ends the program otherwise. */
static int64_t parse_number(const char *text, int64_t most, const char *what)
{
    char *end;
    int64_t value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < 1 || value > most) {
        fprintf(stderr, "bench-files: %s '%s' is not a number from 1 to %" PRId64 "\n", what, text,
                most);
        exit(2);
    }
    return value;
}

/* The directory of a client below PARENT; made if it is to be filled. */
static int client_directory(const char *parent, int64_t number, bool make)
{
    char path[4096];
    int fd;

    if (snprintf(path, sizeof(path), "%s/client-%" PRId64, parent, number) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
    } else if (!make || mkdir(path, 0755) == 0 || errno == EEXIST) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            return fd;
        }
    }
    fprintf(stderr, "bench-files: %s/client-%" PRId64 ": %s\n", parent, number, strerror(errno));
    exit(1);
}

int main(int argc, char **argv)
{
    static const char *const operations[] = {"create", "stat", "read", "unlink"};
    Client client = {0};
    int64_t files, clients, each, total, start, elapsed;
    struct rusage usage;
    uint64_t *times;
    int gate[2], status;
    bool failed = false;

    if (argc != 6) {
        fprintf(stderr,
                "usage: bench-files create|stat|read|unlink DIRECTORY FILES CLIENTS BYTES\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(argv[1], operations[i]) == 0) {
            client.operation = operations[i];
        }
    }
    if (!client.operation) {
        fprintf(stderr, "bench-files: no operation '%s'\n", argv[1]);
        return 2;
    }
    files = parse_number(argv[3], MOST_FILES, "number of files");
    clients = parse_number(argv[4], MOST_CLIENTS, "number of clients");
    client.size = (size_t)parse_number(argv[5], MOST_BYTES, "size");
    client.data = calloc(1, client.size);
    each = (files + clients - 1) / clients;
    total = each * clients;
    times = mmap(NULL, (size_t)total * sizeof(*times), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (!client.data || times == MAP_FAILED || pipe(gate) != 0) {
        perror("bench-files");
        return 1;
    }

    for (int64_t number = 0; number < clients; number++) {
        pid_t child;

        client.directory = client_directory(argv[2], number, client.operation[0] == 'c');
        child = fork();
        if (child < 0) {
            perror("bench-files: fork");
            return 1;
        }
        if (child == 0) {
            char byte;

            close(gate[1]);
            if (read(gate[0], &byte, 1) < 0) {
                _exit(1);
            }
            _exit(client_run(&client, each, times + number * each));
        }
        close(client.directory);
    }
    start = now_ns();
    close(gate[1]); /* opens the gate: every client's read() ends */
    while (wait(&status) > 0) {
        failed |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    elapsed = now_ns() - start;
    if (failed) {
        return 1;
    }
    getrusage(RUSAGE_CHILDREN, &usage);
    qsort(times, (size_t)total, sizeof(*times), compare_times);
    printf("{\"operations\": %" PRId64 ", \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
           "\"p50_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f}\n",
           total, (double)elapsed / 1e9,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
           (double)percentile(times, total, 50) / 1e3, (double)percentile(times, total, 99) / 1e3,
           (double)percentile(times, total, 99.9) / 1e3);
    free(client.data);
    return 0;
}
