/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The content of files: see data.h.
 *
 * How it works: the runs of the wanted range become transfers, up to PARALLEL of them under way at
 * once, straight into the caller's memory; what is not mapped is zeroed there. The transfers live
 * on the coroutine's stack, which yields until the last of a batch is done.
 */
#include "fs/ext4/data.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "aio/coroutine.h"
#include "fs/ext4/map.h"
#include "fs/ext4/turn.h"
#include "fs/ext4/volume.h"
#include "fs/ext4/xattr.h"

#define PARALLEL 16

typedef struct Transfer {
    BlockRequest request;
    bool escaped;
    uint64_t inside; /* the first byte's place in its block, if escaped */
} Transfer;

typedef struct Batch {
    AioCoroutine *co;
    unsigned pending, used;
    int result; /* of the first that failed */
    Transfer transfers[PARALLEL];
} Batch;

static void transfer_done(BlockRequest *request)
{
    Transfer *transfer = aio_container_of(request, Transfer, request);
    Batch *batch = request->opaque;

    if (request->result == 0 && transfer->escaped) {
        ext4_overlay_unescape(request->iov[0].iov_base, request->iov[0].iov_len, transfer->inside);
    }
    if (request->result < 0 && batch->result == 0) {
        batch->result = request->result;
    }
    batch->pending--;
    if (batch->pending == 0) {
        aio_co_wake(batch->co);
    }
}

static int wait_for(Batch *batch)
{
    while (batch->pending > 0) {
        aio_co_yield();
    }
    batch->used = 0;
    return batch->result;
}

/* Read @length bytes from byte @inside of block @block on. */
static int start_transfer(Ext4Volume *volume, Batch *batch, uint8_t *buffer, size_t length,
                          uint64_t block, uint64_t inside, bool escaped)
{
    Transfer *transfer;
    int result = batch->used == PARALLEL ? wait_for(batch) : 0;

    if (result < 0) {
        return result;
    }
    transfer = &batch->transfers[batch->used++];
    transfer->escaped = escaped;
    transfer->inside = inside;
    block_request_init(&transfer->request, BLOCK_READ, buffer, length,
                       (int64_t)((block << volume->block_bits) + inside));
    transfer->request.opaque = batch;
    batch->pending++;
    block_submit(volume->node, &transfer->request, transfer_done);
    return 0;
}

static int read_runs(Ext4Volume *volume, const Ext4Inode *inode, uint8_t *buffer, size_t size,
                     uint64_t offset, Batch *batch)
{
    const uint64_t mask = volume->block_size - 1;
    int result = 0;

    while (size > 0 && result == 0) {
        const uint64_t inside = offset & mask;
        uint64_t place = 0;
        bool escaped = false;
        size_t length;
        Ext4Run run;

        result = ext4_map(volume, inode, offset >> volume->block_bits, &run);
        if (result < 0) {
            break;
        }
        if (run.physical != 0) {
            place = ext4_overlay_find(volume->overlay, run.physical, &run.length, &escaped);
        }
        length = size;
        if (run.length <= (inside + size) >> volume->block_bits) {
            length = (size_t)((run.length << volume->block_bits) - inside);
        }
        length = MIN(length, size);
        if (run.physical == 0) {
            memset(buffer, 0, length);
        } else {
            result = start_transfer(volume, batch, buffer, length, place, inside, escaped);
        }
        buffer += length;
        offset += length;
        size -= length;
    }
    return result;
}

ssize_t ext4_read(Ext4Volume *volume, const Ext4Inode *inode, void *buffer, size_t size,
                  uint64_t offset)
{
    Batch batch;
    int result, waited;

    if (offset >= inode->size || size == 0) {
        return 0;
    }
    size = (size_t)MIN(size, inode->size - offset);
    if (inode->flags & EXT4_INLINE_DATA_FL) {
        return ext4_inline_read(volume, inode, buffer, size, offset);
    }
    batch.co = aio_co_self();
    batch.pending = batch.used = 0;
    batch.result = 0;
    result = read_runs(volume, inode, buffer, size, offset, &batch);
    waited = wait_for(&batch);
    result = result < 0 ? result : waited;
    return result < 0 ? result : (ssize_t)size;
}

int64_t ext4_seek(Ext4Volume *volume, const Ext4Inode *inode, int64_t offset, int whence)
{
    const uint64_t size = inode->size;
    uint64_t at = (uint64_t)offset;
    /* Each run but a hole has blocks of its own, unless the file is damaged. */
    uint64_t blocks = 0;
    unsigned work = 0;

    if (offset < 0 || at >= size) {
        return -ENXIO;
    }
    if (inode->flags & EXT4_INLINE_DATA_FL) {
        return whence == SEEK_DATA ? offset : (int64_t)size;
    }
    while (at < size) {
        const uint64_t block = at >> volume->block_bits;
        Ext4Run run;
        int result = ext4_map(volume, inode, block, &run);

        if (result < 0) {
            return result;
        }
        if ((run.physical != 0) == (whence == SEEK_DATA)) {
            return (int64_t)at;
        }
        if (run.length > (size >> volume->block_bits)) {
            break; /* up to the end; the sum below cannot overflow */
        }
        blocks += run.physical != 0;
        if (blocks > volume->blocks) {
            return ext4_damaged(volume, inode->ino, "its runs are more than there are blocks");
        }
        at = (block + run.length) << volume->block_bits;
        ext4_turn(&work, 1);
    }
    return whence == SEEK_DATA ? -ENXIO : (int64_t)size;
}

int ext4_read_link(Ext4Volume *volume, const Ext4Inode *inode, char *target)
{
    const uint64_t own =
        inode->xattr_block != 0 ? (uint64_t)EXT2_CLUSTER_SIZE(volume->fs->super) / 512 : 0;
    const bool is_inline = (inode->flags & EXT4_INLINE_DATA_FL) != 0;
    ssize_t got;

    if (!S_ISLNK(inode->attr.st_mode)) {
        return -EINVAL;
    }
    if (inode->flags & EXT4_ENCRYPT_FL) {
        return ext4_refused(volume, inode, EXT4_REFUSED_ENCRYPTED);
    }
    if (inode->size == 0 || inode->size > volume->block_size) {
        return ext4_damaged(volume, inode->ino, "the length of the link is wrong");
    }
    if (!is_inline && (uint64_t)inode->attr.st_blocks == own) {
        /* Short ones lie where the places of blocks would be. */
        if (inode->size >= EXT2_N_BLOCKS * sizeof(uint32_t)) {
            return ext4_damaged(volume, inode->ino, "the length of the link is wrong");
        }
        memcpy(target, ext4_inode_block(inode), inode->size);
        got = (ssize_t)inode->size;
    } else {
        got = ext4_read(volume, inode, target, inode->size, 0);
    }
    if (got >= 0) {
        target[got] = '\0';
    }
    return got < 0 ? (int)got : 0;
}
