/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Decompression of one cluster. */
#ifndef SLUICE_FS_BLOCK_DECOMPRESS_H
#define SLUICE_FS_BLOCK_DECOMPRESS_H

#include <stddef.h>

/**
 * Fill the @length bytes at @out from the raw deflate stream (@zstd: Zstandard frames)
 * at @in, which may be followed by other bytes. 0, or -EIO if it does not give that
 * many, -ENOMEM. Takes a while: for a helper thread. Any thread.
 */
int block_decompress(int zstd, const void *in, size_t in_length, void *out, size_t length);

#endif /* SLUICE_FS_BLOCK_DECOMPRESS_H */
