/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic and copying on I/O vectors. */
#include "aio/iov.h"

#include <string.h>

uint64_t aio_iov_length(const struct iovec *iov, unsigned count)
{
    uint64_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        if (__builtin_add_overflow(length, (uint64_t)iov[i].iov_len, &length)) {
            return UINT64_MAX;
        }
    }
    return length;
}

bool aio_iov_is_aligned(const struct iovec *iov, unsigned count, size_t alignment)
{
    uintptr_t bits = 0;
    for (unsigned i = 0; i < count; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    }
    return (bits & (alignment - 1)) == 0;
}

void aio_iov_to_buf(const struct iovec *iov, unsigned count, void *buf)
{
    char *to = buf;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
            to += iov[i].iov_len;
        }
    }
}

/*
 * Cut *@part, an element of a vector, to what lies in the range of *@size bytes that begins
 * *@offset bytes behind its start, and move the range on; false: nothing of it does.
 */
static bool cut(struct iovec *part, uint64_t *offset, uint64_t *size)
{
    if (*offset >= part->iov_len) {
        *offset -= part->iov_len;
        return false;
    }
    part->iov_base = (char *)part->iov_base + *offset;
    part->iov_len -= (size_t)*offset;
    if (part->iov_len > *size) {
        part->iov_len = (size_t)*size;
    }
    *offset = 0;
    *size -= part->iov_len;
    return true;
}

void aio_iov_from_buf(const struct iovec *iov, unsigned count, uint64_t offset, const void *buf,
                      uint64_t size)
{
    const char *from = buf;
    for (unsigned i = 0; i < count && size > 0; i++) {
        struct iovec part = iov[i];
        if (cut(&part, &offset, &size)) {
            memcpy(part.iov_base, from, part.iov_len);
            from += part.iov_len;
        }
    }
}

void aio_iov_zero(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t size)
{
    for (unsigned i = 0; i < count && size > 0; i++) {
        struct iovec part = iov[i];
        if (cut(&part, &offset, &size)) {
            memset(part.iov_base, 0, part.iov_len);
        }
    }
}

unsigned aio_iov_slice(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t size,
                       struct iovec *out)
{
    unsigned used = 0;
    for (unsigned i = 0; i < count && size > 0; i++) {
        struct iovec part = iov[i];
        if (cut(&part, &offset, &size)) {
            out[used++] = part;
        }
    }
    return used;
}
