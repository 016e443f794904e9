/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes of a disk's files, and where their data is. */
#include <errno.h>
#include <unistd.h>

#include "fs/disk/disk-internal.h"

/* --- LSEEK, and whether there is data --- */

static void size_known(DiskIo *io, const struct stat *attr)
{
    FsRequest *previous = fs_request_enter(io->request);
    struct stat shown = *attr;

    shown.st_size = MIN(shown.st_size, io->size);
    fuse_reply_attr(fs_request_fuse(io->request), &shown,
                    io->size < attr->st_size ? 0 : DISK_ATTR_TIMEOUT);
    fs_request_leave(previous);
}

static void reply_attr(DiskIo *io, int64_t size)
{
    io->size = size;
    disk_find_attr(io, io->ino, size_known);
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

static bool seek_look(DiskIo *io)
{
    if (io->block.result < 0) {
        fs_request_reply_error(io->request, -io->block.result);
        return false;
    }
    if (((io->block.status & BLOCK_STATUS_DATA) != 0) == (io->whence == SEEK_DATA)) {
        seek_answer(io, io->walk.at);
        return false;
    }
    return true;
}

static void seek_end(DiskIo *io)
{
    seek_answer(io, io->whence == SEEK_DATA ? -1 : io->node->size); /* the end is a hole */
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
        disk_walk(io, off, seek_look, seek_end);
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
        disk_walk(io, size, seek_look, seek_end);
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
