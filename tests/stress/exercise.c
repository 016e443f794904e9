/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Random operations on one file, compared with a model of it in memory.
 *
 *   exercise [--seed=N] [--operations=N] [--size=BYTES] [--direct] [--no-mmap] FILE
 *
 * How it works: the model is the file's expected content and size. Each
 * operation is done to both; whatever reads (read, mmap, reopening) compares.
 * Every byte written is a function of the operation's number, so that a wrong
 * byte tells which operation it came from. On a difference the offset, both
 * bytes and the last operations are printed; the same seed repeats them.
 *
 * Exit status: 0 equal to the end, 1 different or an operation failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY 40

typedef struct Exercise {
    const char *path;
    int fd;
    bool direct;
    bool mapped_ops;
    size_t limit;     /* no offset goes beyond it */
    size_t alignment; /* of offsets, lengths and memory */
    uint64_t random;
    unsigned number; /* of the current operation, from 1 */
    unsigned char *model;
    size_t size;
    unsigned char *buffer;
    char history[HISTORY][100];
} Exercise;

static uint64_t random_next(Exercise *ex)
{
    ex->random ^= ex->random << 13;
    ex->random ^= ex->random >> 7;
    ex->random ^= ex->random << 17;
    return ex->random;
}

static size_t random_below(Exercise *ex, size_t bound)
{
    return bound ? random_next(ex) % bound : 0;
}

__attribute__((format(printf, 2, 3))) static void remember(Exercise *ex, const char *format, ...)
{
    char *line = ex->history[ex->number % HISTORY];
    int used = snprintf(line, sizeof(ex->history[0]), "%6u ", ex->number);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, sizeof(ex->history[0]) - (size_t)used, format, arguments);
    va_end(arguments);
}

static void give_up(Exercise *ex)
{
    fprintf(stderr, "model: size %zu; last operations:\n", ex->size);
    unsigned first = ex->number >= HISTORY ? ex->number - HISTORY + 1 : 1;
    for (unsigned i = first; i <= ex->number; i++) {
        fprintf(stderr, "  %s\n", ex->history[i % HISTORY]);
    }
    exit(1);
}

static void failed(Exercise *ex, const char *what)
{
    fprintf(stderr, "exercise: %s: %s\n", what, strerror(errno));
    give_up(ex);
}

static void compare(Exercise *ex, const unsigned char *got, size_t offset, size_t length)
{
    const unsigned char *want = ex->model + offset;
    if (memcmp(got, want, length) == 0) {
        return;
    }
    size_t at = 0, wrong = 0;
    for (size_t i = length; i-- > 0;) {
        if (got[i] != want[i]) {
            at = i;
            wrong++;
        }
    }
    fprintf(stderr, "exercise: %zu bytes differ, the first at %zu: got 0x%02x, expected 0x%02x\n",
            wrong, offset + at, got[at], want[at]);
    give_up(ex);
}

static size_t aligned(const Exercise *ex, size_t value)
{
    return value / ex->alignment * ex->alignment;
}

/* A random range; empty only if the file may not hold anything there. */
static void pick_range(Exercise *ex, size_t end, size_t *offset, size_t *length)
{
    size_t longest = random_below(ex, 4) == 0 ? end : 16384;
    *offset = aligned(ex, random_below(ex, end));
    *length = aligned(ex, 1 + random_below(ex, longest) + ex->alignment - 1);
    if (*length > end - *offset) {
        *length = aligned(ex, end - *offset);
    }
}

static void model_resize(Exercise *ex, size_t size)
{
    if (size > ex->size) {
        memset(ex->model + ex->size, 0, size - ex->size);
    }
    ex->size = size;
}

static void model_grow(Exercise *ex, size_t end)
{
    if (end > ex->size) {
        model_resize(ex, end);
    }
}

static void fill(const Exercise *ex, unsigned char *bytes, size_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(ex->number * 31 + (offset + i) * 7 + ((offset + i) >> 8));
    }
}

static void check_size(Exercise *ex)
{
    struct stat st;
    if (fstat(ex->fd, &st) < 0) {
        failed(ex, "fstat");
    }
    if ((size_t)st.st_size != ex->size) {
        fprintf(stderr, "exercise: size is %jd, expected %zu\n", (intmax_t)st.st_size, ex->size);
        give_up(ex);
    }
}

static void do_read(Exercise *ex)
{
    size_t offset, length;
    pick_range(ex, ex->limit, &offset, &length);
    remember(ex, "read      %zu + %zu", offset, length);
    ssize_t got = pread(ex->fd, ex->buffer, length, (off_t)offset);
    if (got < 0) {
        failed(ex, "read");
    }
    size_t want = offset >= ex->size ? 0 : ex->size - offset;
    want = want < length ? want : length;
    if ((size_t)got != want) {
        fprintf(stderr, "exercise: read returned %zd, expected %zu\n", got, want);
        give_up(ex);
    }
    compare(ex, ex->buffer, offset, want);
}

static void do_write(Exercise *ex)
{
    size_t offset, length;
    pick_range(ex, ex->limit, &offset, &length);
    remember(ex, "write     %zu + %zu", offset, length);
    fill(ex, ex->buffer, offset, length);
    ssize_t done = pwrite(ex->fd, ex->buffer, length, (off_t)offset);
    if (done < 0) {
        failed(ex, "write");
    }
    if ((size_t)done != length) {
        fprintf(stderr, "exercise: write returned %zd, expected %zu\n", done, length);
        give_up(ex);
    }
    if (length > 0) {
        model_grow(ex, offset + length);
        memcpy(ex->model + offset, ex->buffer, length);
    }
}

static void do_truncate(Exercise *ex)
{
    size_t size =
        random_below(ex, 3) == 0 ? random_below(ex, ex->limit + 1) : random_below(ex, ex->size + 1);
    remember(ex, "truncate  %zu (from %zu)", size, ex->size);
    int status =
        random_below(ex, 2) ? ftruncate(ex->fd, (off_t)size) : truncate(ex->path, (off_t)size);
    if (status < 0) {
        failed(ex, "truncate");
    }
    model_resize(ex, size);
    check_size(ex);
}

static void do_fallocate(Exercise *ex)
{
    static const struct {
        int mode;
        const char *name;
    } kinds[] = {
        {0, "allocate"},
        {FALLOC_FL_KEEP_SIZE, "reserve"},
        {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch"},
        {FALLOC_FL_ZERO_RANGE, "zero"},
        {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero-keep"},
    };
    size_t kind = random_below(ex, sizeof(kinds) / sizeof(kinds[0]));
    int mode = kinds[kind].mode;
    size_t offset, length;
    pick_range(ex, ex->limit, &offset, &length);
    remember(ex, "%-9s %zu + %zu", kinds[kind].name, offset, length);
    if (length == 0) {
        return;
    }
    if (fallocate(ex->fd, mode, (off_t)offset, (off_t)length) < 0) {
        if (errno == EOPNOTSUPP) {
            return;
        }
        failed(ex, kinds[kind].name);
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE)) {
        model_grow(ex, offset + length);
    }
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && offset < ex->size) {
        size_t end = offset + length < ex->size ? offset + length : ex->size;
        memset(ex->model + offset, 0, end - offset);
    }
    check_size(ex);
}

static void do_map(Exercise *ex, bool writing)
{
    if (ex->size == 0 || !ex->mapped_ops) {
        return;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t offset, length;
    pick_range(ex, ex->size, &offset, &length);
    remember(ex, "%s %zu + %zu", writing ? "map-write" : "map-read ", offset, length);
    if (length == 0) {
        return;
    }
    size_t start = offset / page * page;
    unsigned char *map =
        mmap(NULL, offset + length - start, writing ? PROT_READ | PROT_WRITE : PROT_READ,
             MAP_SHARED, ex->fd, (off_t)start);
    if (map == MAP_FAILED) {
        failed(ex, "mmap");
    }
    if (writing) {
        fill(ex, ex->model + offset, offset, length);
        memcpy(map + (offset - start), ex->model + offset, length);
        if (msync(map, offset + length - start, MS_SYNC) < 0) {
            failed(ex, "msync");
        }
    } else {
        compare(ex, map + (offset - start), offset, length);
    }
    if (munmap(map, offset + length - start) < 0) {
        failed(ex, "munmap");
    }
}

static void do_copy(Exercise *ex)
{
    size_t from, to, length;
    pick_range(ex, ex->size, &from, &length);
    to = aligned(ex, random_below(ex, ex->limit));
    if (length > ex->limit - to) {
        length = aligned(ex, ex->limit - to);
    }
    if (length == 0 || (to < from + length && from < to + length)) {
        return; /* an overlap is EINVAL */
    }
    remember(ex, "copy      %zu + %zu to %zu", from, length, to);
    loff_t in = (loff_t)from, out = (loff_t)to;
    ssize_t done = copy_file_range(ex->fd, &in, ex->fd, &out, length, 0);
    if (done < 0) {
        if (errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL) {
            return;
        }
        failed(ex, "copy_file_range");
    }
    if (done > 0) {
        model_grow(ex, to + (size_t)done);
        memcpy(ex->model + to, ex->model + from, (size_t)done);
    }
    check_size(ex);
}

static void do_sync(Exercise *ex)
{
    bool data_only = random_below(ex, 2) != 0;
    remember(ex, "%s", data_only ? "fdatasync" : "fsync");
    if ((data_only ? fdatasync(ex->fd) : fsync(ex->fd)) < 0) {
        failed(ex, "fsync");
    }
}

static void open_file(Exercise *ex, int flags)
{
    ex->fd = open(ex->path, O_RDWR | O_CLOEXEC | flags | (ex->direct ? O_DIRECT : 0), 0644);
    if (ex->fd < 0) {
        failed(ex, "open");
    }
}

static void do_reopen(Exercise *ex)
{
    remember(ex, "reopen");
    if (close(ex->fd) < 0) {
        failed(ex, "close");
    }
    open_file(ex, 0);
    check_size(ex);
}

static void check_all(Exercise *ex)
{
    remember(ex, "compare everything");
    check_size(ex);
    size_t at = 0;
    while (at < ex->size) {
        ssize_t got = pread(ex->fd, ex->buffer, ex->limit, (off_t)at);
        if (got <= 0) {
            failed(ex, "read everything");
        }
        compare(ex, ex->buffer, at, (size_t)got);
        at += (size_t)got;
    }
}

static void run(Exercise *ex, unsigned operations)
{
    for (unsigned i = 0; i < operations; i++) {
        ex->number++;
        switch (random_below(ex, 20)) {
        case 0 ... 5:
            do_write(ex);
            break;
        case 6 ... 10:
            do_read(ex);
            break;
        case 11:
            do_truncate(ex);
            break;
        case 12 ... 13:
            do_fallocate(ex);
            break;
        case 14:
            do_map(ex, true);
            break;
        case 15 ... 16:
            do_map(ex, false);
            break;
        case 17:
            do_copy(ex);
            break;
        case 18:
            do_sync(ex);
            break;
        default:
            do_reopen(ex);
            break;
        }
    }
    ex->number++;
    check_all(ex);
}

static unsigned long number_option(const char *text)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end) {
        fprintf(stderr, "exercise: '%s' is not a number\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"operations", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 'l'}, {"direct", no_argument, NULL, 'd'},
        {"no-mmap", no_argument, NULL, 'm'},    {NULL, 0, NULL, 0},
    };
    Exercise ex = {.limit = 256 * 1024, .alignment = 1, .random = 1, .mapped_ops = true};
    unsigned operations = 1000;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 's':
            ex.random = number_option(optarg);
            break;
        case 'n':
            operations = (unsigned)number_option(optarg);
            break;
        case 'l':
            ex.limit = number_option(optarg);
            break;
        case 'd':
            ex.direct = true;
            ex.alignment = 4096;
            break;
        case 'm':
            ex.mapped_ops = false;
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || ex.limit < ex.alignment) {
        fprintf(stderr, "usage: exercise [OPTION]... FILE\n");
        return 2;
    }
    ex.random = ex.random * 0x9e3779b97f4a7c15u + 1; /* never 0 */
    ex.path = argv[optind];
    ex.model = calloc(1, ex.limit);
    if (!ex.model || posix_memalign((void **)&ex.buffer, 4096, ex.limit + 4096) != 0) {
        fprintf(stderr, "exercise: out of memory\n");
        return 1;
    }
    open_file(&ex, O_CREAT | O_TRUNC);
    run(&ex, operations);
    if (close(ex.fd) < 0) {
        failed(&ex, "close");
    }
    free(ex.buffer);
    free(ex.model);
    return 0;
}
