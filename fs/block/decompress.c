/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decompression of one cluster, by zlib and libzstd. */
#include "fs/block/decompress.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

static int inflate_raw(const void *in, size_t in_length, void *out, size_t length)
{
    z_stream stream = {
        .next_in = (Bytef *)(const Bytef *)in,
        .avail_in = (uInt)in_length,
        .next_out = out,
        .avail_out = (uInt)length,
    };
    int result;

    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        return -ENOMEM;
    }
    result = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    /* Z_BUF_ERROR: everything is there, and the stream would like to go on. */
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0 ? 0 : -EIO;
}

static int unzstd(const void *in, size_t in_length, void *out, size_t length)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer input = {.src = in, .size = in_length};
    ZSTD_outBuffer output = {.dst = out, .size = length};
    int result = 0;

    if (context == NULL) {
        return -ENOMEM;
    }
    /* A stream, because the length of the frame is not known: what follows it is rubbish. */
    while (output.pos < length && result == 0) {
        const size_t before = output.pos + input.pos;
        size_t left = ZSTD_decompressStream(context, &output, &input);

        if (ZSTD_isError(left) || output.pos + input.pos == before) {
            result = -EIO;
        }
    }
    ZSTD_freeDCtx(context);
    return result;
}

int block_decompress(int zstd, const void *in, size_t in_length, void *out, size_t length)
{
    return zstd ? unzstd(in, in_length, out, length) : inflate_raw(in, in_length, out, length);
}
