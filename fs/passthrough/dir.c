/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * OPENDIR, READDIR, READDIRPLUS, RELEASEDIR.
 *
 * How it works: a handle (dir-handle.h) keeps one buffer of getdents64(2). A request names the
 * position it wants: that of the next buffered entry in the usual case, else
 * the buffer is thrown away and lseek(2) goes there. Positions are the file
 * system's own d_off values, so they mean the same to telldir() and
 * seekdir() of the client as on the source, also after entries were deleted.
 *
 * READDIRPLUS counts a lookup for each entry it sends except "." and ".."; an
 * entry is looked up only once it is certain to fit. An entry whose inode
 * cannot be had (no descriptors left, our own mount, just deleted) is sent
 * without one or left out; that is not an error of the directory.
 */
#include "fs/passthrough/dir.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

#define DIR_BUFFER_SIZE  (32 * 1024)
#define DIR_BUFFER_LEAST 1024 /* more than the longest name takes */
#define PLUS_GROWTH      4    /* an entry of READDIRPLUS, for the source's: names of 15 letters */

/* struct linux_dirent64 of getdents64(2) */
typedef struct RawDirent {
    uint64_t ino;
    int64_t next;
    uint16_t record_length;
    uint8_t type;
    char name[];
} RawDirent;

struct FsDirStream {
    pthread_mutex_t lock; /* clients may share a handle among threads */
    off_t position;       /* of the entry at offset; what the client would ask for next */
    size_t offset;        /* into buffer, of the next entry */
    size_t length;        /* of what the buffer holds */
    size_t at_once;       /* bytes to ask for */
    char buffer[DIR_BUFFER_SIZE] __attribute__((aligned(8)));
};

int fs_dirent_next(const char *buffer, size_t length, size_t *offset, FsDirent *entry)
{
    const size_t header = offsetof(RawDirent, name);
    if (*offset == length) {
        return 0;
    }
    if (*offset > length || length - *offset < header + 1) {
        return -EIO;
    }
    RawDirent raw;
    memcpy(&raw, buffer + *offset, header);
    if (raw.record_length < header + 1 || raw.record_length > length - *offset) {
        return -EIO;
    }
    const char *name = buffer + *offset + header;
    if (!memchr(name, '\0', raw.record_length - header)) {
        return -EIO;
    }
    *entry = (FsDirent){.ino = raw.ino, .next = raw.next, .type = raw.type, .name = name};
    *offset += raw.record_length;
    return 1;
}

FsDirStream *fs_dir_stream_new(void)
{
    FsDirStream *stream = malloc(sizeof(*stream));
    if (stream) {
        pthread_mutex_init(&stream->lock, NULL);
        stream->position = 0;
        stream->offset = stream->length = 0;
        stream->at_once = sizeof(stream->buffer);
    }
    return stream;
}

void fs_dir_stream_free(FsDirStream *stream)
{
    if (stream) {
        pthread_mutex_destroy(&stream->lock);
        free(stream);
    }
}

/* Make @position the next one. 0 or negative errno. */
static int seek_locked(FsDirStream *stream, int fd, off_t position)
{
    if (position != 0 && position == stream->position) {
        return 0;
    }
    if (lseek(fd, position, SEEK_SET) < 0) {
        return -errno;
    }
    stream->position = position;
    stream->offset = stream->length = 0;
    return 0;
}

/* The next entry without moving on. 1, 0 at the end, or negative errno. */
static int peek_locked(FsDirStream *stream, int fd, FsDirent *entry, size_t *behind)
{
    if (stream->offset == stream->length) {
        long got = syscall(SYS_getdents64, fd, stream->buffer, stream->at_once);
        if (got <= 0) {
            return got < 0 ? -errno : 0;
        }
        stream->offset = 0;
        stream->length = (size_t)got;
    }
    *behind = stream->offset;
    return fs_dirent_next(stream->buffer, stream->length, behind, entry);
}

static bool is_dot_or_dotdot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* An entry with what getdents tells: no inode for the kernel. */
static struct fuse_entry_param plain_entry(const FsInode *directory, const FsDirent *entry)
{
    return (struct fuse_entry_param){
        .attr.st_ino = fs_backing_shown_ino(directory->backing, entry->ino),
        .attr.st_mode = DTTOIF(entry->type),
    };
}

/* The entry with its inode, as far as possible. False: leave it out. */
static bool plus_entry(FsPassthrough *pt, const FsInode *directory, const FsDirent *entry,
                       struct fuse_entry_param *param)
{
    *param = plain_entry(directory, entry);
    if (is_dot_or_dotdot(entry->name) || fs_inode_descriptors(&pt->inodes) >= pt->plus_inodes) {
        return true;
    }
    struct fuse_entry_param found;
    int error = fs_entry_lookup(pt, directory, entry->name, &found, NULL);
    if (!error) {
        *param = found;
    }
    return error != -ENOENT;
}

/* Fill @reply; returns its length or negative errno. */
static ssize_t fill_locked(fuse_req_t req, FsPassthrough *pt, FsHandle *handle, char *reply,
                           size_t size, bool plus)
{
    FsDirStream *stream = handle->dir;
    size_t used = 0;
    for (;;) {
        FsDirent entry;
        size_t behind;
        int more = peek_locked(stream, handle->fd, &entry, &behind);
        if (more <= 0) {
            return more < 0 && used == 0 ? more : (ssize_t)used;
        }
        struct fuse_entry_param param = plain_entry(handle->inode, &entry);
        size_t need = plus ? fuse_add_direntry_plus(req, NULL, 0, entry.name, &param, 0)
                           : fuse_add_direntry(req, NULL, 0, entry.name, &param.attr, 0);
        if (need > size - used) {
            return used == 0 ? -EINVAL : (ssize_t)used;
        }
        if (!plus) {
            fuse_add_direntry(req, reply + used, size - used, entry.name, &param.attr, entry.next);
            used += need;
        } else if (plus_entry(pt, handle->inode, &entry, &param)) {
            fuse_add_direntry_plus(req, reply + used, size - used, entry.name, &param, entry.next);
            used += need;
        }
        stream->offset = behind;
        stream->position = entry.next;
    }
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, uint64_t fh,
                           bool plus)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    g_autoptr(FsHandle) handle = NULL;
    int error = fs_dir_handle_get(pt, ino, fh, &handle);
    if (error || !handle->dir) {
        fuse_reply_err(req, error ? -error : ENOTDIR);
        return;
    }
    char *reply = fs_request_data_buffer(request, size);
    if (!reply) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    pthread_mutex_lock(&handle->dir->lock);
    if (fh == 0) { /* it is read this once: not much more than has room in the answer */
        size_t room = plus ? size / PLUS_GROWTH : size;
        handle->dir->at_once = CLAMP(room, DIR_BUFFER_LEAST, DIR_BUFFER_SIZE);
    }
    ssize_t length = seek_locked(handle->dir, handle->fd, offset);
    if (length == 0) {
        length = fill_locked(req, pt, handle, reply, size, plus);
    }
    pthread_mutex_unlock(&handle->dir->lock);
    if (length < 0) {
        fs_request_reply_error(request, (int)-length);
    } else {
        fs_request_reply_data(request, (size_t)length);
    }
}

void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info *fi)
{
    read_directory(req, ino, size, offset, fi->fh, false);
}

void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    read_directory(req, ino, size, offset, fi->fh, true);
}

/* Answer with @handle of @inode, or with @error, a negative errno. */
static void reply_opened(fuse_req_t req, const FsInode *inode, FsHandle *handle, int error)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (error) {
        fuse_reply_err(req, -error);
        return;
    }
    struct fuse_file_info fi = {.fh = fs_handle_id(handle)};
    if (pt->params.cache == FS_PASSTHROUGH_CACHE_ALWAYS && !pt->params.strictatime &&
        !atomic_load_explicit(&inode->backing->unwatched, memory_order_relaxed)) {
        fi.cache_readdir = 1;
        fi.keep_cache = 1;
    }
    if (fuse_reply_open(req, &fi) == -ENOENT) {
        fs_handle_release(&pt->handles, fi.fh);
    }
}

/* No descriptor was left. */
static void open_on_helper(FsRequest *request, void *opaque)
{
    g_autoptr(FsInode) inode = opaque;
    fuse_req_t req = fs_request_fuse(request);
    FsPassthrough *pt = fs_passthrough_of(req);
    FsHandle *handle = NULL;
    unsigned tries = 0;
    int error = -ENFILE;
    while (fs_reclaim_made_room(pt, error, &tries)) {
        error = fs_dir_handle_open(pt, inode, &handle);
    }
    reply_opened(req, inode, handle, error);
}

void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (pt->unannounced_dirs) {
        fuse_reply_err(req, ENOSYS); /* the kernel takes it as "do not ask again" */
        return;
    }
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    FsHandle *handle = NULL;
    int error = inode ? fs_dir_handle_open(pt, inode, &handle) : -ESTALE;
    if (error == -ENFILE) {
        fs_request_offload(fs_request_current(), NULL, open_on_helper, g_steal_pointer(&inode));
        return;
    }
    reply_opened(req, inode, handle, error);
}

void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fs_handle_release(&fs_passthrough_of(req)->handles, fi->fh);
    fuse_reply_err(req, 0);
}
