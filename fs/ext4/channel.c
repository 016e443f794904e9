/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How libext2fs reads: see channel.h.
 *
 * The library opens a channel by a name and nothing else, so the source's address is the name.
 * A negative count means bytes, and the block size changes on the way.
 */
#include "fs/ext4/channel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static errcode_t channel_open(const char *name, int flags, io_channel *opened);

static errcode_t channel_close(io_channel channel)
{
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t channel_set_blksize(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    const Ext4Source *source = channel->private_data;
    const uint64_t each = (uint64_t)channel->block_size;
    const uint64_t length = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * each;
    int result;

    if (block > INT64_MAX / each || length > SIZE_MAX) {
        return EXT2_ET_BAD_BLOCK_NUM;
    }
    result = ext4_overlay_read_now(source->node, source->overlay, data, (size_t)length,
                                   (int64_t)(block * each));
    return result < 0 ? -result : 0;
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *data)
{
    return channel_read64(channel, block, count, data);
}

static errcode_t channel_write64(io_channel channel, unsigned long long block, int count,
                                 const void *data)
{
    return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_write(io_channel channel, unsigned long block, int count, const void *data)
{
    return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_flush(io_channel channel)
{
    return 0;
}

/* The library never writes to it. */
static const struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "block node",
    .open = channel_open,
    .close = channel_close,
    .set_blksize = channel_set_blksize,
    .read_blk = channel_read,
    .write_blk = channel_write,
    .flush = channel_flush,
    .read_blk64 = channel_read64,
    .write_blk64 = channel_write64,
};

static errcode_t channel_open(const char *name, int flags, io_channel *opened)
{
    io_channel channel = calloc(1, sizeof(*channel));
    void *source;

    if (channel == NULL || sscanf(name, "%p", &source) != 1) {
        free(channel);
        return EXT2_ET_NO_MEMORY;
    }
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = (io_manager)(uintptr_t)&manager;
    channel->name = strdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = source;
    *opened = channel;
    return 0;
}

errcode_t ext4_channel_open(const Ext4Source *source, ext2_filsys *fs)
{
    g_autofree char *name = g_strdup_printf("%p", (const void *)source);

    *fs = NULL;
    return ext2fs_open2(name, NULL, EXT2_FLAG_64BITS, 0, 0, (io_manager)(uintptr_t)&manager, fs);
}
