/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes of a disk's files.
 *
 * How it works: how much of the whole disk is allocated, the image's own attributes tell. For a
 * part the ranges of it are asked for, RANGES_MAX at most, and what comes behind these is taken to
 * be as they are. That is kept until the image changes: its ctime and blocks tell, and the
 * count of our own changes where two come within a tick of the file system's clock.
 *
 * Programs look for holes only where less is allocated than the file is long, and some take
 * one with nothing allocated for a hole: so what is not known is neither nothing nor everything.
 */
#include <errno.h>
#include <string.h>

#include "fs/block/slice.h"
#include "fs/disk/disk-internal.h"

#define BLOCK      512u /* of st_blocks */
#define RANGES_MAX 64u

mode_t disk_mode_of(const FsDisk *disk, const DiskEntry *entry)
{
    const mode_t bits =
        disk->image.st_mode & (entry->kind == DISK_FILE && entry->node->read_only ? 0444 : 0666);

    switch (entry->kind) {
    case DISK_FILE:
        return S_IFREG | bits;
    case DISK_LINK:
        return S_IFLNK | 0777;
    default:
        /* Who may read may search. */
        return S_IFDIR | (bits & 0444) | (bits & 0444) >> 2 | 0700;
    }
}

static struct stat image_stat(const FsDisk *disk)
{
    struct stat image;

    return disk->image_fd >= 0 && fstat(disk->image_fd, &image) == 0 ? image : disk->image;
}

/* @bytes: of a file, that are allocated. */
static void answer(DiskIo *io, uint64_t bytes)
{
    const FsDisk *disk = disk_of(fs_request_fuse(io->request));
    const DiskEntry *entry = disk_tree_get(disk->tree, io->ino);
    const struct stat image = image_stat(disk);
    struct stat attr = {
        .st_ino = io->ino,
        .st_mode = disk_mode_of(disk, entry),
        .st_nlink = entry->kind == DISK_DIRECTORY ? 2 : 1,
        .st_uid = disk->image.st_uid,
        .st_gid = disk->image.st_gid,
        .st_blksize = DISK_PREFERRED_SIZE,
        .st_atim = image.st_atim,
        .st_mtim = image.st_mtim,
        .st_ctim = image.st_ctim,
    };

    if (entry->kind == DISK_FILE) {
        const uint64_t size = (uint64_t)entry->node->size;

        /* what was written through another file a moment ago may be all there is */
        bytes = MAX(bytes, MIN(size, DISK_PREFERRED_SIZE));
        attr.st_size = entry->node->size;
        attr.st_blocks = (blkcnt_t)((bytes + BLOCK - 1) / BLOCK);
    } else if (entry->kind == DISK_LINK) {
        attr.st_size = (off_t)strlen(entry->target);
    }
    io->search.found(io, &attr);
}

/* --- how much of a part is allocated --- */

static void space_found(DiskIo *io, uint64_t bytes)
{
    FsDisk *disk = disk_of(fs_request_fuse(io->request));

    pthread_mutex_lock(&disk->space_lock);
    disk->space[io->ino - 1] =
        (DiskSpace){.known = true, .state = io->search.state, .bytes = bytes};
    pthread_mutex_unlock(&disk->space_lock);
    answer(io, bytes);
}

/* The rest is as what was looked at: roughly, and neither nothing nor everything. */
static void space_guess(DiskIo *io, uint64_t seen)
{
    const uint64_t size = (uint64_t)io->node->size;
    const uint64_t guess = (uint64_t)((double)size * ((double)io->search.bytes / (double)seen));

    space_found(io, CLAMP(guess, MAX(io->search.bytes, DISK_PREFERRED_SIZE), size - BLOCK));
}

static bool space_look(DiskIo *io)
{
    const uint64_t seen = (uint64_t)io->walk.at + io->block.run;

    if (io->block.result < 0) { /* reading it will tell */
        answer(io, (uint64_t)io->node->size);
        return false;
    }
    if (io->block.status & BLOCK_STATUS_DATA) {
        io->search.bytes += io->block.run;
    }
    if (++io->search.ranges < RANGES_MAX || seen >= (uint64_t)io->node->size) {
        return true;
    }
    space_guess(io, seen);
    return false;
}

static void space_end(DiskIo *io)
{
    space_found(io, io->search.bytes);
}

static bool is_same_state(const DiskState *a, const DiskState *b)
{
    return a->changes == b->changes && a->blocks == b->blocks &&
           a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static void find_space(DiskIo *io)
{
    FsDisk *disk = disk_of(fs_request_fuse(io->request));
    DiskSpace before;

    pthread_mutex_lock(&disk->space_lock);
    before = disk->space[io->ino - 1];
    pthread_mutex_unlock(&disk->space_lock);
    if (before.known && is_same_state(&before.state, &io->search.state)) {
        answer(io, before.bytes);
        return;
    }
    disk_walk(io, 0, space_look, space_end);
}

/* --- the operation --- */

/* Whether the file is the whole image: no part of one. */
static bool is_whole(BlockNode *node)
{
    int64_t offset;

    return block_slice_bottom(node, &offset) == node;
}

void disk_find_attr(DiskIo *io, fuse_ino_t ino, DiskAttrFn *found)
{
    FsDisk *disk = disk_of(fs_request_fuse(io->request));
    const DiskEntry *entry = disk_tree_get(disk->tree, ino);

    const struct stat image = image_stat(disk);

    io->ino = ino;
    io->node = entry->node;
    io->search = (struct DiskSearch){
        .found = found,
        .state =
            {
                .changes = atomic_load(&disk->writes) + atomic_load(&disk->zeroes),
                .blocks = image.st_blocks,
                .ctime = image.st_ctim,
            },
    };
    if (entry->kind != DISK_FILE) {
        answer(io, 0);
    } else if (!S_ISREG(image.st_mode)) { /* a device, or a server's */
        answer(io, (uint64_t)entry->node->size);
    } else if (is_whole(entry->node)) {
        const uint64_t blocks = ((uint64_t)entry->node->size + DISK_PREFERRED_SIZE - 1) /
                                DISK_PREFERRED_SIZE * (DISK_PREFERRED_SIZE / BLOCK);

        answer(io, MIN((uint64_t)image.st_blocks, blocks) * BLOCK);
    } else {
        find_space(io);
    }
}

static void attr_found(DiskIo *io, const struct stat *attr)
{
    FsRequest *previous = fs_request_enter(io->request);

    fuse_reply_attr(fs_request_fuse(io->request), attr, DISK_ATTR_TIMEOUT);
    fs_request_leave(previous);
}

void disk_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (disk_tree_get(disk_of(req)->tree, ino) == NULL) {
        fuse_reply_err(req, ENOENT);
    } else {
        disk_find_attr(disk_io_new(NULL), ino, attr_found);
    }
}
