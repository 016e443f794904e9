/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes of a disk's files, and where their data is. */
#include <errno.h>
#include <unistd.h>

#include "fs/disk/disk-internal.h"

/* --- LSEEK, and whether there is data: ask for one range after the other --- */

static void reply_attr(DiskIo *io, int64_t size)
{
    FsRequest *previous = fs_request_enter(io->request);
    fuse_req_t req = fs_request_fuse(io->request);
    struct stat attr = disk_stat_of(disk_of(req), io->ino);

    if (size < attr.st_size) {
        attr.st_size = size;
        fuse_reply_attr(req, &attr, 0);
    } else {
        fuse_reply_attr(req, &attr, DISK_ATTR_TIMEOUT);
    }
    fs_request_leave(previous);
}

/* What was looked for is at @offset; -1: nowhere. */
static void seek_answer(DiskIo *io, int64_t offset)
{
    if (io->cutting && offset < 0) {
        reply_attr(io, io->node->size);
    } else if (io->cutting || offset < 0) {
        fs_request_reply_error(io->request, io->cutting ? EINVAL : ENXIO);
    } else {
        FsRequest *previous = fs_request_enter(io->request);

        fuse_reply_lseek(fs_request_fuse(io->request), offset);
        fs_request_leave(previous);
    }
}

/* Look at the range that has been asked for; false: it has been answered. */
static bool seek_goes_on(DiskIo *io)
{
    if (io->block.result < 0) {
        fs_request_reply_error(io->request, -io->block.result);
        return false;
    }
    if (((io->block.status & BLOCK_STATUS_DATA) != 0) == (io->whence == SEEK_DATA)) {
        seek_answer(io, io->at);
        return false;
    }
    io->at += (int64_t)io->block.run;
    return true;
}

static void seek_done(BlockRequest *block);

/* Ranges that are answered at once make a loop here, and no recursion: there may be very many. */
static void seek(DiskIo *io)
{
    const int64_t size = io->node->size;

    do {
        if (io->at >= size) {
            seek_answer(io, io->whence == SEEK_DATA ? -1 : size); /* the end is a hole */
            return;
        }
        block_request_init(&io->block, BLOCK_STATUS, NULL, (uint64_t)(size - io->at), io->at);
        io->answered = false;
        io->submitting = true;
        block_submit(io->node, &io->block, seek_done);
        io->submitting = false;
        if (!io->answered) {
            return; /* seek_done() goes on */
        }
    } while (seek_goes_on(io));
}

static void seek_done(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);

    io->answered = true;
    if (!io->submitting && seek_goes_on(io)) {
        seek(io);
    }
}

void disk_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);

    if (entry == NULL || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
        fuse_reply_err(req, EINVAL);
    } else if (off < 0 || off >= entry->node->size) {
        fuse_reply_err(req, ENXIO);
    } else {
        DiskIo *io = disk_io_new(entry->node);

        io->whence = whence;
        io->cutting = false;
        io->at = off;
        seek(io);
    }
}

/* --- sizes --- */

static void size_done(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);

    if (block->result < 0) {
        fs_request_reply_error(io->request, -block->result);
    } else {
        /* The kernel drops what it has cached behind an end, and then asks for the size. */
        reply_attr(io, io->emptied ? 0 : io->node->size);
    }
}

/*
 * A file keeps its size, but it can be emptied, as by O_TRUNC. It may be cut where there is nothing
 * but a hole. The whole disk can grow, as far as the image can.
 */
static void set_size(fuse_req_t req, fuse_ino_t ino, const DiskEntry *entry, int64_t size)
{
    const FsDisk *disk = disk_of(req);
    const int64_t now = entry->node->size;
    DiskIo *io;

    if (entry->node->read_only) {
        fuse_reply_err(req, EROFS);
        return;
    }
    io = disk_io_new(entry->node);
    io->ino = ino;
    io->emptied = size == 0 && disk->one_file;
    if (size == 0) {
        block_request_init(&io->block, BLOCK_ZERO, NULL, (uint64_t)now, 0);
        io->block.flags = BLOCK_MAY_UNMAP;
        block_submit(entry->node, &io->block, size_done);
    } else if (size < now) {
        io->cutting = true;
        io->whence = SEEK_DATA;
        io->at = size;
        seek(io);
    } else if (entry->node == disk->node) {
        block_request_init(&io->block, BLOCK_GROW, NULL, 0, size);
        block_submit(entry->node, &io->block, size_done);
    } else {
        fs_request_reply_error(io->request, EINVAL); /* a partition */
    }
}

void disk_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                     struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_tree_get(disk_of(req)->tree, ino);
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME |
                      FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW;

    if (entry == NULL) {
        fuse_reply_err(req, ENOENT);
    } else if (to_set & ~(FUSE_SET_ATTR_SIZE | times)) {
        fuse_reply_err(req, EPERM);
    } else if (to_set & FUSE_SET_ATTR_SIZE && entry->kind != DISK_FILE) {
        fuse_reply_err(req, EINVAL);
    } else if (to_set & FUSE_SET_ATTR_SIZE && attr->st_size != entry->node->size) {
        set_size(req, ino, entry, attr->st_size);
    } else {
        disk_op_getattr(req, ino, fi); /* times are the image's */
    }
}
