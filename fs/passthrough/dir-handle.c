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
 * A request with the handle 0 opens the directory for itself. Nothing is kept from one READDIR to
 * the next but the position: nobody knows whose the next one is, nor what has changed meanwhile.
 * So this is only for sources all of whose directories have positions that mean the same to
 * another descriptor. The handle of such a directory is not known to clients.
 */
#include "fs/passthrough/dir-handle.h"

#include <fcntl.h>
#include <unistd.h>

#include "fs/passthrough/dir.h"
#include "fs/passthrough/operations.h"

bool fs_dirs_need_no_opening(const FsPassthrough *pt)
{
    /*
     * Who may open a directory, or lock it, is for the kernel alone to say. A listing is asked
     * about each time where a part of the source may not be watched. The answer is for the whole
     * connection, and any file system may be mounted below the source later.
     */
    return pt->params.cache == FS_PASSTHROUGH_CACHE_ALWAYS && !pt->watch &&
           !pt->params.strictatime && pt->params.default_permissions &&
           pt->params.locks == FS_PASSTHROUGH_LOCKS_LOCAL &&
           pt->params.xdev == FS_PASSTHROUGH_XDEV_DENY && pt->root->backing->stable_positions;
}

int fs_dir_handle_open(FsPassthrough *pt, FsInode *inode, FsHandle **handle)
{
    /* "." of an O_PATH directory: no magic link needed */
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        return path.fd;
    }
    const int no_atime = pt->params.noatime || pt->params.nodiratime ? O_NOATIME : 0;
    int fd;
    FsRoom room = {0};
    do {
        fd = openat(path.fd, ".", flags | no_atime);
        if (fd < 0 && errno == EPERM) {
            fd = openat(path.fd, ".", flags); /* only the owner may have O_NOATIME */
        }
        fd = fd < 0 ? fs_client_error(errno) : fd;
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    if (fd < 0) {
        return fd;
    }
    FsDirStream *stream = fs_dir_stream_new();
    if (stream) {
        *handle = fs_handle_new(&pt->handles, inode, fd, flags, stream);
    } else {
        close(fd);
    }
    return stream && *handle ? 0 : -ENOMEM;
}

int fs_dir_handle_get(FsPassthrough *pt, uint64_t ino, uint64_t fh, FsHandle **handle)
{
    if (fh != 0 || !pt->unannounced_dirs) {
        *handle = fs_handle_get(&pt->handles, fh);
        return *handle ? 0 : -EBADF;
    }
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, ino);
    return inode ? fs_dir_handle_open(pt, inode, handle) : -ESTALE;
}
