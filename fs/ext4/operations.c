/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An ext2/3/4 file system as a directory: the operations.
 *
 * How it works: each operation is a coroutine that begins on the worker with the request; it
 * yields where a block has to be read and ends with the answer. What it needs to know is in the
 * request's scratch room. Nothing changes while the file system is served (the image is locked), so
 * the kernel may keep names, attributes and data for as long as it likes, and is told not to
 * announce opens at all. Numbers of nodes are those of inodes, but for the root, which is 1 there
 * and 2 here (1 here is a list of bad blocks that no name leads to).
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "aio/coroutine.h"
#include "fs/ext4/data.h"
#include "fs/ext4/directory.h"
#include "fs/ext4/volume.h"
#include "fs/ext4/xattr.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/session.h"

#define FOREVER 86400.0

/* What an operation was asked. */
typedef struct Ext4Call {
    FsRequest *request;
    Ext4Volume *volume;
    uint32_t ino;
    const char *name; /* in the request */
    size_t size;
    uint64_t offset;
    int whence;
    bool plus, trusted;
} Ext4Call;

static_assert(sizeof(Ext4Call) <= FS_REQUEST_SCRATCH, "fits into a request's scratch room");

static uint32_t ino_of(fuse_ino_t node)
{
    return node == FUSE_ROOT_ID ? EXT4_ROOT : (uint32_t)node;
}

static fuse_ino_t node_of(uint32_t ino)
{
    return ino == EXT4_ROOT ? FUSE_ROOT_ID : ino;
}

static Ext4Call *new_call(fuse_req_t req, fuse_ino_t node)
{
    FsRequest *request = fs_request_current();
    Ext4Call *call = fs_request_scratch(request);

    *call = (Ext4Call){
        .request = request,
        .volume = fuse_req_userdata(req),
        .ino = ino_of(node),
    };
    return call;
}

static void start(Ext4Call *call, AioCoroutineFn *fn)
{
    AioCoroutine *co = aio_co_new(fn, call);

    if (co == NULL) {
        fs_request_reply_error(call->request, ENOMEM);
    } else {
        aio_co_enter(co);
    }
}

static void fail(Ext4Call *call, int result)
{
    fs_request_reply_error(call->request, -result);
}

/* --- names and attributes --- */

/* Why names in @directory, or the content of a file, cannot be shown; 0: they can. */
static int check_readable(Ext4Volume *volume, const Ext4Inode *inode)
{
    return inode->flags & EXT4_ENCRYPT_FL ? ext4_refused(volume, inode, EXT4_REFUSED_ENCRYPTED) : 0;
}

static struct fuse_entry_param entry_of(const Ext4Inode *inode)
{
    return (struct fuse_entry_param){
        .ino = node_of(inode->ino),
        .generation = inode->generation,
        .attr = inode->attr,
        .attr_timeout = FOREVER,
        .entry_timeout = FOREVER,
    };
}

static int find_name(const Ext4Call *call, uint32_t *ino)
{
    g_autoptr(Ext4Inode) directory = NULL;
    int result = ext4_inode_get(call->volume, call->ino, &directory);

    if (result < 0) {
        return result;
    }
    if (!S_ISDIR(directory->attr.st_mode)) {
        return -ENOTDIR;
    }
    if (strlen(call->name) > EXT2_NAME_LEN) {
        return -ENAMETOOLONG;
    }
    result = check_readable(call->volume, directory);
    if (result == 0 && directory->flags & EXT4_CASEFOLD_FL) {
        result = ext4_refused(call->volume, directory, EXT4_REFUSED_CASEFOLD);
    }
    return result < 0 ? result : ext4_directory_find(call->volume, directory, call->name, ino);
}

static void co_lookup(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    struct fuse_entry_param entry = {.entry_timeout = FOREVER};
    uint32_t ino;
    int result = find_name(call, &ino);

    if (result == 0) {
        result = ext4_inode_get(call->volume, ino, &inode);
    }
    if (result < 0 && result != -ENOENT) {
        fail(call, result);
        return;
    }
    if (inode != NULL) {
        entry = entry_of(inode);
    }
    FsRequest *previous = fs_request_enter(call->request);
    fuse_reply_entry(fs_request_fuse(call->request), &entry);
    fs_request_leave(previous);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    Ext4Call *call = new_call(req, parent);

    call->name = name;
    start(call, co_lookup);
}

static void co_getattr(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    int result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result < 0) {
        fail(call, result);
        return;
    }
    FsRequest *previous = fs_request_enter(call->request);
    fuse_reply_attr(fs_request_fuse(call->request), &inode->attr, FOREVER);
    fs_request_leave(previous);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    start(new_call(req, ino), co_getattr);
}

static struct statx_timestamp statx_time(struct timespec time)
{
    return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

static void co_statx(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    int result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result < 0) {
        fail(call, result);
        return;
    }
    const struct stat *attr = &inode->attr;
    const bool has_birth = inode->birth.tv_sec != 0 || inode->birth.tv_nsec != 0;
    const struct statx stx = {
        .stx_mask = STATX_BASIC_STATS | (has_birth ? STATX_BTIME : 0),
        .stx_blksize = (uint32_t)attr->st_blksize,
        .stx_nlink = (uint32_t)attr->st_nlink,
        .stx_uid = attr->st_uid,
        .stx_gid = attr->st_gid,
        .stx_mode = (uint16_t)attr->st_mode,
        .stx_ino = attr->st_ino,
        .stx_size = (uint64_t)attr->st_size,
        .stx_blocks = (uint64_t)attr->st_blocks,
        .stx_atime = statx_time(attr->st_atim),
        .stx_mtime = statx_time(attr->st_mtim),
        .stx_ctime = statx_time(attr->st_ctim),
        .stx_btime = statx_time(inode->birth),
        .stx_rdev_major = major(attr->st_rdev),
        .stx_rdev_minor = minor(attr->st_rdev),
    };
    FsRequest *previous = fs_request_enter(call->request);
    fs_reply_statx(fs_request_fuse(call->request), &stx, FOREVER);
    fs_request_leave(previous);
}

static void op_statx(fuse_req_t req, fuse_ino_t ino, unsigned flags, unsigned mask,
                     struct fuse_file_info *fi)
{
    start(new_call(req, ino), co_statx);
}

static void co_readlink(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    g_autofree char *target = g_try_malloc(call->volume->block_size + 1);
    int result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result == 0) {
        result = target == NULL ? -ENOMEM : ext4_read_link(call->volume, inode, target);
    }
    if (result < 0) {
        fail(call, result);
        return;
    }
    FsRequest *previous = fs_request_enter(call->request);
    fuse_reply_readlink(fs_request_fuse(call->request), target);
    fs_request_leave(previous);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    start(new_call(req, ino), co_readlink);
}

/* --- directories --- */

/* Append @entry to the answer; its length, more than @room if it does not fit. */
static size_t add_entry(const Ext4Call *call, const Ext4Entry *entry, char *buffer, size_t room)
{
    fuse_req_t req = fs_request_fuse(call->request);
    struct fuse_entry_param param = {
        .attr = {.st_ino = entry->ino, .st_mode = DTTOIF(entry->type)},
    };
    const bool is_dot = strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0;
    g_autoptr(Ext4Inode) inode = NULL;

    if (!call->plus) {
        return fuse_add_direntry(req, buffer, room, entry->name, &param.attr, (off_t)entry->next);
    }
    if (fuse_add_direntry_plus(req, NULL, 0, entry->name, &param, 0) <= room && !is_dot &&
        ext4_inode_get(call->volume, entry->ino, &inode) == 0) {
        param = entry_of(inode);
    }
    return fuse_add_direntry_plus(req, buffer, room, entry->name, &param, (off_t)entry->next);
}

static int list_directory(const Ext4Call *call, char *buffer, size_t *used)
{
    g_auto(Ext4Cursor) cursor = {.position = call->offset};
    g_autoptr(Ext4Inode) directory = NULL;
    Ext4Entry entry;
    int result = ext4_inode_get(call->volume, call->ino, &directory);

    if (result < 0) {
        return result;
    }
    if (!S_ISDIR(directory->attr.st_mode)) {
        return -ENOTDIR;
    }
    result = check_readable(call->volume, directory);
    while (result == 0) {
        result = ext4_directory_next(call->volume, directory, &cursor, &entry);
        if (result <= 0) {
            break;
        }
        const size_t length = add_entry(call, &entry, buffer + *used, call->size - *used);
        if (length > call->size - *used) {
            return *used == 0 ? -EINVAL : 0;
        }
        *used += length;
        result = 0;
    }
    /* An error is shown when nothing stands before it. */
    return *used > 0 ? 0 : result;
}

static void co_readdir(void *opaque)
{
    Ext4Call *call = opaque;
    FsRequest *request = call->request;
    char *buffer = fs_request_data_buffer(request, call->size);
    size_t used = 0;
    int result = buffer == NULL ? -EINVAL : list_directory(call, buffer, &used);

    if (result < 0) {
        fail(call, result);
    } else {
        fs_request_reply_data(request, used);
    }
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    Ext4Call *call = new_call(req, ino);

    call->size = size;
    call->offset = (uint64_t)offset;
    call->plus = plus;
    start(call, co_readdir);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    read_directory(req, ino, size, offset, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    read_directory(req, ino, size, offset, true);
}

/* --- data --- */

/* The kernel takes it as "do not ask again", keeps what it has read, and serves close, too. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, ENOSYS);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const Ext4Volume *volume = fuse_req_userdata(req);

    if (volume->announced_opendir) {
        fuse_reply_open(req, fi);
    } else {
        fuse_reply_err(req, ENOSYS);
    }
}

static void co_read(void *opaque)
{
    Ext4Call *call = opaque;
    Ext4Volume *volume = call->volume;
    FsRequest *request = call->request;
    g_autoptr(Ext4Inode) inode = NULL;
    void *buffer = fs_request_data_buffer(request, call->size);
    ssize_t result = buffer == NULL ? -EINVAL : ext4_inode_get(volume, call->ino, &inode);

    if (result == 0 && !S_ISREG(inode->attr.st_mode)) {
        result = -EINVAL;
    }
    if (result == 0) {
        result = check_readable(volume, inode);
    }
    if (result == 0) {
        result = ext4_read(volume, inode, buffer, call->size, call->offset);
    }
    if (result < 0) {
        fail(call, (int)result);
        return;
    }
    atomic_fetch_add_explicit(&volume->reads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&volume->read_bytes, (uint64_t)result, memory_order_relaxed);
    fs_request_reply_data(request, (size_t)result);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    Ext4Call *call = new_call(req, ino);

    call->size = size;
    call->offset = (uint64_t)offset;
    start(call, co_read);
}

static void co_lseek(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    int64_t result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result == 0) {
        result = ext4_seek(call->volume, inode, (int64_t)call->offset, call->whence);
    }
    if (result < 0) {
        fail(call, (int)result);
        return;
    }
    FsRequest *previous = fs_request_enter(call->request);
    fuse_reply_lseek(fs_request_fuse(call->request), result);
    fs_request_leave(previous);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    Ext4Call *call = new_call(req, ino);

    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    call->offset = (uint64_t)offset;
    call->whence = whence;
    start(call, co_lseek);
}

/* --- extended attributes --- */

/* Answer with @length bytes, or how many these are if the caller asks for that. */
static void reply_bytes(Ext4Call *call, const void *bytes, size_t length)
{
    const size_t size = call->size;
    FsRequest *previous;

    if (size > 0 && length > size) {
        fail(call, -ERANGE);
        return;
    }
    previous = fs_request_enter(call->request);
    if (size == 0) {
        fuse_reply_xattr(fs_request_fuse(call->request), length);
    } else {
        fuse_reply_buf(fs_request_fuse(call->request), bytes, length);
    }
    fs_request_leave(previous);
}

static void co_getxattr(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    g_autofree uint8_t *value = NULL;
    size_t length = 0;
    int result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result == 0) {
        result = ext4_xattr_get(call->volume, inode, call->name, &value, &length);
    }
    if (result < 0) {
        fail(call, result);
    } else {
        reply_bytes(call, value, length);
    }
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    Ext4Call *call = new_call(req, ino);

    call->name = name;
    call->size = size;
    start(call, co_getxattr);
}

static void co_listxattr(void *opaque)
{
    Ext4Call *call = opaque;
    g_autoptr(Ext4Inode) inode = NULL;
    g_autoptr(GString) names = g_string_new(NULL);
    int result = ext4_inode_get(call->volume, call->ino, &inode);

    if (result == 0) {
        result = ext4_xattr_list(call->volume, inode, call->trusted, names);
    }
    if (result < 0) {
        fail(call, result);
    } else {
        reply_bytes(call, names->str, names->len);
    }
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    Ext4Call *call = new_call(req, ino);

    call->size = size;
    call->trusted = fuse_req_ctx(req)->uid == 0;
    start(call, co_listxattr);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const Ext4Volume *volume = fuse_req_userdata(req);

    fuse_reply_statfs(req, &volume->usage);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    Ext4Volume *volume = userdata;

    volume->announced_opendir = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) == 0;
    conn->want |= conn->capable & FUSE_CAP_CACHE_SYMLINKS;
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
    if (volume->acl) {
        conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
    }
}

const FsFilesystem *ext4_filesystem(void)
{
    static const FsFilesystem filesystem = {
        .name = "image",
        .ops =
            {
                .init = op_init,
                .lookup = op_lookup,
                .getattr = op_getattr,
                .readlink = op_readlink,
                .open = op_open,
                .read = op_read,
                .opendir = op_opendir,
                .readdir = op_readdir,
                .readdirplus = op_readdirplus,
                .lseek = op_lseek,
                .getxattr = op_getxattr,
                .listxattr = op_listxattr,
                .statfs = op_statfs,
            },
        .extra = {.statx = op_statx},
        .want_flags = FS_FUSE_NO_EXPORT_SUPPORT,
    };
    return &filesystem;
}
