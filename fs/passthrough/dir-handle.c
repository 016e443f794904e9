/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Handles of directories.
 *
 * How it works: where the kernel may keep listings for as long as it likes, it need
 * not announce that it opens a directory. OPENDIR is answered with ENOSYS once
 * (FUSE_NO_OPENDIR_SUPPORT, Linux 5.1), and then neither OPENDIR nor RELEASEDIR is sent
 * any more: two of the three requests that a listing from the kernel's memory took.
 * What is sent for such a directory has the handle 0.
 *
 * A READDIR with the handle 0 opens the directory. Until its last entry has been read it
 * is parked, with its position, for the request that goes on there; the first that comes
 * takes it. There is room for a few; the oldest is closed for a new one, whose reader, like
 * one who seeks, finds its place by lseek(2). The handle of a parked directory is not
 * known to clients.
 */
#include "fs/passthrough/dir-handle.h"

#include <fcntl.h>
#include <unistd.h>

#include "fs/passthrough/dir.h"
#include "fs/passthrough/operations.h"

void fs_dir_handles_init(FsDirHandles *dirs)
{
    *dirs = (FsDirHandles){0};
    pthread_mutex_init(&dirs->lock, NULL);
}

void fs_dir_handles_fini(FsDirHandles *dirs)
{
    for (unsigned i = 0; i < FS_DIRS_PARKED; i++) {
        fs_handle_put(dirs->parked[i]);
    }
    pthread_mutex_destroy(&dirs->lock);
}

int fs_dir_handle_open(FsPassthrough *pt, FsInode *inode, FsHandle **handle)
{
    /* "." of an O_PATH directory: no magic link needed */
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        return path.fd;
    }
    int fd =
        openat(path.fd, ".", flags | (pt->params.noatime || pt->params.nodiratime ? O_NOATIME : 0));
    if (fd < 0 && errno == EPERM) {
        fd = openat(path.fd, ".", flags); /* only the owner may have O_NOATIME */
    }
    if (fd < 0) {
        return errno == EMFILE ? -ENFILE : -errno;
    }
    FsDirStream *stream = fs_dir_stream_new();
    if (stream) {
        *handle = fs_handle_new(&pt->handles, inode, fd, flags, stream);
    } else {
        close(fd);
    }
    return stream && *handle ? 0 : -ENOMEM;
}

static FsHandle *unpark(FsDirHandles *dirs, uint64_t ino, off_t position)
{
    FsHandle *found = NULL;
    pthread_mutex_lock(&dirs->lock);
    for (unsigned i = 0; i < FS_DIRS_PARKED && !found; i++) {
        FsHandle *handle = dirs->parked[i];
        if (handle && fs_inode_id(handle->inode) == ino &&
            fs_dir_stream_position(handle->dir) == position) {
            found = handle;
            dirs->parked[i] = NULL;
        }
    }
    pthread_mutex_unlock(&dirs->lock);
    return found;
}

int fs_dir_handle_get(FsPassthrough *pt, uint64_t ino, uint64_t fh, off_t position,
                      FsHandle **handle)
{
    if (fh != 0 || !pt->dirs.unannounced) {
        *handle = fs_handle_get(&pt->handles, fh);
        return *handle ? 0 : -EBADF;
    }
    *handle = position > 0 ? unpark(&pt->dirs, ino, position) : NULL;
    if (*handle) {
        return 0;
    }
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    return inode ? fs_dir_handle_open(pt, inode, handle) : -ESTALE;
}

void fs_dir_handle_park(FsDirHandles *dirs, FsHandle *handle)
{
    pthread_mutex_lock(&dirs->lock);
    FsHandle *oldest = dirs->parked[dirs->next];
    dirs->parked[dirs->next] = handle;
    dirs->next = (dirs->next + 1) % FS_DIRS_PARKED;
    pthread_mutex_unlock(&dirs->lock);
    fs_handle_put(oldest);
}
