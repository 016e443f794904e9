/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A library to preload into a daemon: many of its reads and writes of regular files move only a
 * part of what was asked for, as the kernel may do at any time.
 *
 *   LD_PRELOAD=.../libshort-transfers.so sluicefs passthrough ...
 *
 * How it works: the calls are asked to move less, by the arithmetic of a seeded generator, so the
 * result is true. On the ring the entries are changed between preparation and submission: all
 * that lies between sqe_head and sqe_tail has not been seen by the kernel. Direct transfers are
 * shortened to whole blocks. Fixed files are the FUSE device and are left alone. At exit the
 * number of shortened transfers is printed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define BLOCK     4096u
#define IOV_SHORT 16

static _Atomic uint64_t serial, shortened;

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(void)
{
    uint64_t z = (atomic_fetch_add(&serial, 1) + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* How much of @length to ask for: every second transfer of a regular file is shortened. */
static size_t shorter(int fd, size_t length)
{
    struct stat st;
    int saved = errno;
    size_t unit = 1, result = length;
    uint64_t random = next_random();

    if ((random & 1) && length > 1 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if (fcntl(fd, F_GETFL) & O_DIRECT) {
            unit = BLOCK;
        }
        if (length > unit) {
            result = unit * (1 + (random >> 1) % ((length - 1) / unit));
            atomic_fetch_add_explicit(&shortened, 1, memory_order_relaxed);
        }
    }
    errno = saved;
    return result;
}

__attribute__((destructor)) static void report(void)
{
    fprintf(stderr, "short-transfers: %llu\n", (unsigned long long)atomic_load(&shortened));
}

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) {
        abort();
    }
    return found;
}

/* --- io_uring --- */

static void shorten_entries(struct io_uring *ring)
{
    unsigned shift = ring->flags & IORING_SETUP_SQE128 ? 1 : 0;

    for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[(i & ring->sq.ring_mask) << shift];
        if ((sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE) &&
            !(sqe->flags & IOSQE_FIXED_FILE)) {
            sqe->len = (unsigned)shorter(sqe->fd, sqe->len);
        }
    }
}

int io_uring_submit(struct io_uring *ring)
{
    int (*submit)(struct io_uring *) = real("io_uring_submit");
    shorten_entries(ring);
    return submit(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    int (*submit)(struct io_uring *, unsigned) = real("io_uring_submit_and_wait");
    shorten_entries(ring);
    return submit(ring, wait_nr);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                     unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *mask)
{
    int (*submit)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *,
                  sigset_t *) = real("io_uring_submit_and_wait_timeout");
    shorten_entries(ring);
    return submit(ring, cqe, wait_nr, ts, mask);
}

/* --- system calls --- */

ssize_t pread64(int fd, void *buffer, size_t size, off64_t offset)
{
    ssize_t (*call)(int, void *, size_t, off64_t) = real("pread64");
    return call(fd, buffer, shorter(fd, size), offset);
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t offset)
{
    ssize_t (*call)(int, const void *, size_t, off64_t) = real("pwrite64");
    return call(fd, buffer, shorter(fd, size), offset);
}

/* The vector for the first bytes of @iov; @copy has room for IOV_SHORT. */
static const struct iovec *shorter_vector(int fd, const struct iovec *iov, int *count,
                                          struct iovec *copy)
{
    if (*count < 1 || *count > IOV_SHORT) {
        return iov;
    }
    size_t total = 0;
    for (int i = 0; i < *count; i++) {
        copy[i] = iov[i];
        total += iov[i].iov_len;
    }
    size_t left = shorter(fd, total);
    for (int i = 0; i < *count; i++) {
        if (left <= copy[i].iov_len) {
            copy[i].iov_len = left;
            *count = i + 1;
            break;
        }
        left -= copy[i].iov_len;
    }
    return copy;
}

ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    ssize_t (*call)(int, const struct iovec *, int, off64_t) = real("preadv64");
    struct iovec copy[IOV_SHORT];
    iov = shorter_vector(fd, iov, &count, copy);
    return call(fd, iov, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    ssize_t (*call)(int, const struct iovec *, int, off64_t) = real("pwritev64");
    struct iovec copy[IOV_SHORT];
    iov = shorter_vector(fd, iov, &count, copy);
    return call(fd, iov, count, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
    ssize_t (*call)(int, const struct iovec *, int, off64_t, int) = real("preadv64v2");
    struct iovec copy[IOV_SHORT];
    iov = shorter_vector(fd, iov, &count, copy);
    return call(fd, iov, count, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
    ssize_t (*call)(int, const struct iovec *, int, off64_t, int) = real("pwritev64v2");
    struct iovec copy[IOV_SHORT];
    iov = shorter_vector(fd, iov, &count, copy);
    return call(fd, iov, count, offset, flags);
}
