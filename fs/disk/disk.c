/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk as a directory: the operations.
 *
 * How it works: the names are constant (tree.c), so nothing needs a lock and the kernel may
 * keep names for as long as it likes. A READ or WRITE is one request to the file's block
 * node, in the FUSE request's scratch room, with the FUSE request's buffer as its
 * memory.
 *
 * disk and partN are two files over the same bytes. The kernel has a page cache for
 * each, and they would not see each other's writes: so all files are opened with
 * FOPEN_DIRECT_IO, unless there is one file only.
 */
#include "fs/disk/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/disk/disk-internal.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/session.h"

static_assert(sizeof(DiskIo) <= FS_REQUEST_SCRATCH, "fits into a request's scratch room");

#define FOREVER 86400.0

static void count(_Atomic(uint64_t) *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- names --- */

static void entry_found(DiskIo *io, const struct stat *attr)
{
    FsRequest *previous = fs_request_enter(io->request);
    const struct fuse_entry_param entry = {
        .ino = io->ino,
        .attr = *attr,
        .attr_timeout = DISK_ATTR_TIMEOUT,
        .entry_timeout = FOREVER,
    };

    fuse_reply_entry(fs_request_fuse(io->request), &entry);
    fs_request_leave(previous);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    uint64_t ino = disk_tree_lookup(disk_of(req)->tree, parent, name);

    if (ino == 0) {
        fuse_reply_err(req, ENOENT);
    } else {
        disk_find_attr(disk_io_new(NULL), ino, entry_found);
    }
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    const DiskEntry *entry = disk_tree_get(disk_of(req)->tree, ino);

    if (entry == NULL || entry->kind != DISK_LINK) {
        fuse_reply_err(req, EINVAL);
    } else {
        fuse_reply_readlink(req, entry->target);
    }
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    const FsDisk *disk = disk_of(req);
    const DiskEntry *directory = disk_tree_get(disk->tree, ino);
    g_autofree char *buffer = g_try_malloc(size);
    size_t used = 0;

    if (directory == NULL || directory->kind != DISK_DIRECTORY || buffer == NULL || off < 0) {
        fuse_reply_err(req, buffer == NULL ? ENOMEM : ENOTDIR);
        return;
    }
    /* Offsets: 0 ".", 1 "..", n + 1 behind the entry with inode number n. */
    for (uint64_t next = (uint64_t)off; next <= disk->tree->entries->len; next++) {
        const uint64_t shown = next == 0 ? ino : next == 1 ? directory->parent : next;
        const DiskEntry *entry = disk_tree_get(disk->tree, shown);
        const struct stat attr = {.st_ino = shown, .st_mode = disk_mode_of(disk, entry)};
        const char *name = next == 0 ? "." : next == 1 ? ".." : entry->name;

        if (next > 1 && entry->parent != ino) {
            continue;
        }
        size_t length =
            fuse_add_direntry(req, buffer + used, size - used, name, &attr, (off_t)next + 1);
        if (length > size - used) {
            break;
        }
        used += length;
    }
    fuse_reply_buf(req, buffer, used);
}

/* --- data --- */

static void open_done(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);
    FsRequest *previous = fs_request_enter(io->request);
    fuse_req_t req = fs_request_fuse(io->request);

    if (block->result < 0) {
        fuse_reply_err(req, -block->result);
    } else {
        fs_request_set_open_flags(
            io->request, disk_of(req)->one_file ? FOPEN_KEEP_CACHE
                                                : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES);
        fuse_reply_open(req, &io->file);
    }
    fs_request_leave(previous);
}

/*
 * O_TRUNC makes one hole of the file, as those expect who leave out their zeros. After it the
 * kernel drops what it has cached, and asks for the size.
 */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);
    uint64_t emptied;

    if (entry == NULL) {
        fuse_reply_err(req, EISDIR);
    } else if (entry->node->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
    } else {
        DiskIo *io = disk_io_new(entry->node);

        io->file = *fi;
        emptied = fi->flags & O_TRUNC ? (uint64_t)entry->node->size : 0;
        block_request_init(&io->block, BLOCK_ZERO, NULL, emptied, 0);
        io->block.flags = BLOCK_MAY_UNMAP;
        if (emptied == 0) {
            io->block.result = 0;
            open_done(&io->block);
        } else {
            block_submit(entry->node, &io->block, open_done);
        }
    }
}

static void read_done(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);

    if (block->result < 0) {
        fs_request_reply_error(io->request, -block->result);
    } else {
        fs_request_reply_data(io->request, io->length);
    }
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);
    FsRequest *request = fs_request_current();
    void *buffer = fs_request_data_buffer(request, size);

    if (entry == NULL || buffer == NULL || off < 0) {
        fs_request_reply_error(request, EINVAL);
        return;
    }
    DiskIo *io = disk_io_new(entry->node);
    io->length = off >= entry->node->size ? 0 : MIN(size, (size_t)(entry->node->size - off));
    count(&disk_of(req)->reads);
    block_request_init(&io->block, BLOCK_READ, buffer, io->length, io->length > 0 ? off : 0);
    block_submit(entry->node, &io->block, read_done);
}

static void write_done(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);

    if (block->result < 0) {
        fs_request_reply_error(io->request, -block->result);
    } else {
        fs_request_reply_write(io->request, io->length);
    }
}

/* What reaches beyond the end is cut, as at the end of a device. */
static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);
    FsRequest *request = fs_request_current();

    if (entry == NULL || off < 0 || off >= entry->node->size) {
        fs_request_reply_error(request, entry == NULL || off < 0 ? EINVAL : ENOSPC);
        return;
    }
    DiskIo *io = disk_io_new(entry->node);
    io->length = MIN(size, (size_t)(entry->node->size - off));
    count(&disk_of(req)->writes);
    block_request_init(&io->block, BLOCK_WRITE, (void *)(uintptr_t)data, io->length, off);
    io->block.flags = fi->flags & (O_SYNC | O_DSYNC) ? BLOCK_FUA : 0;
    block_submit(entry->node, &io->block, write_done);
}

static void plain_done(BlockRequest *block)
{
    fs_request_reply_error(disk_io_of(block)->request, -block->result);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);

    if (entry == NULL || entry->node->read_only) {
        fuse_reply_err(req, entry == NULL ? EINVAL : 0);
        return;
    }
    DiskIo *io = disk_io_new(entry->node);
    count(&disk_of(req)->flushes);
    block_request_init(&io->block, BLOCK_FLUSH, NULL, 0, 0);
    block_submit(entry->node, &io->block, plain_done);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    const DiskEntry *entry = disk_file_of(req, ino);
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;

    if (entry == NULL || offset < 0 || length <= 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    const int64_t size = entry->node->size, inside = offset >= size ? 0 : size - offset;
    if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
        fuse_reply_err(req, EOPNOTSUPP); /* also to reserve space, as a block device */
        return;
    }
    if (length > inside && (mode & FALLOC_FL_KEEP_SIZE) == 0) {
        fuse_reply_err(req, ENOSPC);
        return;
    }
    DiskIo *io = disk_io_new(entry->node);
    count(&disk_of(req)->zeroes);
    block_request_init(&io->block, BLOCK_ZERO, NULL, (uint64_t)MIN(length, inside),
                       inside > 0 ? offset : 0);
    io->block.flags = kind == FALLOC_FL_PUNCH_HOLE ? BLOCK_MAY_UNMAP : 0;
    block_submit(entry->node, &io->block, plain_done);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const FsDisk *disk = disk_of(req);
    const struct statvfs info = {
        .f_bsize = DISK_PREFERRED_SIZE,
        .f_frsize = DISK_PREFERRED_SIZE,
        .f_blocks = (fsblkcnt_t)(disk->node->size / DISK_PREFERRED_SIZE),
        .f_files = disk->tree->entries->len,
        .f_namemax = 255,
    };

    fuse_reply_statfs(req, &info);
}

const FsFilesystem *disk_filesystem(void)
{
    static const FsFilesystem filesystem = {
        .name = "disk",
        .ops =
            {
                .lookup = op_lookup,
                .getattr = disk_op_getattr,
                .setattr = disk_op_setattr,
                .readlink = op_readlink,
                .mknod = disk_op_mknod,
                .mkdir = disk_op_mkdir,
                .unlink = disk_op_remove,
                .rmdir = disk_op_remove,
                .symlink = disk_op_symlink,
                .rename = disk_op_rename,
                .link = disk_op_link,
                .open = op_open,
                .read = op_read,
                .write = op_write,
                .fsync = op_fsync,
                .readdir = op_readdir,
                .fallocate = op_fallocate,
                .lseek = disk_op_lseek,
                .statfs = op_statfs,
            },
    };
    return &filesystem;
}

FsDisk *disk_new(BlockNode *node, const DiskTable *table, const DiskPartition *only, GError **error)
{
    DiskTree *tree = disk_tree_new(node, table, only, error);
    FsDisk *disk;
    unsigned files = 0;

    if (tree == NULL) {
        return NULL;
    }
    disk = g_new0(FsDisk, 1);
    disk->node = block_node_ref(node);
    disk->tree = tree;
    disk->space = g_new0(DiskSpace, tree->entries->len);
    pthread_mutex_init(&disk->space_lock, NULL);
    for (guint i = 0; i < tree->entries->len; i++) {
        files += g_array_index(tree->entries, DiskEntry, i).kind == DISK_FILE;
    }
    disk->one_file = files == 1;
    disk->image.st_mode = 0600;
    disk->image_fd = block_node_fd(node);
    if (disk->image_fd >= 0) {
        fstat(disk->image_fd, &disk->image);
    } else { /* a server's, which tells no times */
        clock_gettime(CLOCK_REALTIME, &disk->image.st_mtim);
        disk->image.st_atim = disk->image.st_ctim = disk->image.st_mtim;
    }
    return disk;
}

bool disk_flush(FsDisk *disk, GError **error)
{
    int result = disk->node->read_only ? 0 : block_flush_now(disk->node);

    if (result < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(-result),
                    "cannot write '%s': %s; what was written last is lost", disk->node->name,
                    g_strerror(-result));
    }
    return result == 0;
}

void disk_free(FsDisk *disk)
{
    disk_tree_free(disk->tree);
    pthread_mutex_destroy(&disk->space_lock);
    g_free(disk->space);
    block_node_unref(disk->node);
    g_free(disk);
}

void disk_get_stats(const FsDisk *disk, FsDiskStats *stats)
{
    stats->reads = atomic_load_explicit(&disk->reads, memory_order_relaxed);
    stats->writes = atomic_load_explicit(&disk->writes, memory_order_relaxed);
    stats->flushes = atomic_load_explicit(&disk->flushes, memory_order_relaxed);
    stats->zeroes = atomic_load_explicit(&disk->zeroes, memory_order_relaxed);
}
