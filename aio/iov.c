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

void aio_iov_from_buf(const struct iovec *iov, unsigned count, const void *buf, uint64_t size)
{
    const char *from = buf;
    for (unsigned i = 0; i < count && size > 0; i++) {
        size_t n = iov[i].iov_len < size ? iov[i].iov_len : (size_t)size;
        if (n > 0) {
            memcpy(iov[i].iov_base, from, n);
            from += n;
            size -= n;
        }
    }
}

void aio_iov_zero_from(const struct iovec *iov, unsigned count, uint64_t offset)
{
    for (unsigned i = 0; i < count; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        memset((char *)iov[i].iov_base + offset, 0, iov[i].iov_len - (size_t)offset);
        offset = 0;
    }
}
