/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Arithmetic and copying on I/O vectors; pure functions. */
#ifndef SLUICE_AIO_IOV_H
#define SLUICE_AIO_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/** Sum of the lengths, UINT64_MAX if it does not fit. */
uint64_t aio_iov_length(const struct iovec *iov, unsigned count);

/** Whether every base and length is a multiple of @alignment (a power of two). */
bool aio_iov_is_aligned(const struct iovec *iov, unsigned count, size_t alignment);

/** Copy the whole vector to @buf. */
void aio_iov_to_buf(const struct iovec *iov, unsigned count, void *buf);

/** Copy @size bytes of @buf to byte @offset of the vector; less if the vector is shorter. */
void aio_iov_from_buf(const struct iovec *iov, unsigned count, uint64_t offset, const void *buf,
                      uint64_t size);

/** Fill @size bytes of the vector from byte @offset on with zeros; less if it is shorter. */
void aio_iov_zero(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t size);

/**
 * The vector of @size bytes from byte @offset on, less if @iov is shorter, in @out, which has room
 * for @count elements. Returns how many it has.
 */
unsigned aio_iov_slice(const struct iovec *iov, unsigned count, uint64_t offset, uint64_t size,
                       struct iovec *out);

#endif /* SLUICE_AIO_IOV_H */
