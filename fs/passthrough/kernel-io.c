/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Kernel passthrough.
 *
 * How it works: a file of the source is registered with the FUSE connection
 * (FUSE_DEV_IOC_BACKING_OPEN), which gives a backing id; an open that is answered with
 * that id makes the kernel open the source's file with the client's own flags and do
 * reads, writes and maps there.
 *
 * What the kernel demands (fs/fuse/iomode.c of Linux 6.18; an open that breaks a rule fails with
 * EIO for the client): all files open on one inode are either with kernel passthrough or
 * without, and those with it have the same backing id. So the first open of an
 * inode decides, and the others follow until the last is closed:
 *
 *                   first open suits                   first open does not
 *     FS_IO_KERNEL <------------------  nothing open  --------------------> FS_IO_DAEMON
 *                   ------------------>               <--------------------
 *                      last one closed                   last one closed
 *
 * The kernel leaves a mode before it sends the RELEASE of the last file and enters one after it
 * got the answer of the first OPEN. Counting from before the answer to after the RELEASE, as done
 * here, therefore covers its mode, and no order of requests among workers can break
 * the rules. An inode has its id while files of that mode are open.
 *
 * Two kinds of open files have their reads and writes withheld from the kernel:
 *  - with O_APPEND: the source's file would keep the flag when fcntl(F_SETFL) takes it away;
 *  - to write to a file with set-id bits. Under FUSE_HANDLE_KILLPRIV_V2 the kernel leaves it to
 *    the daemon to drop these, and a WRITE request says when. Bits that are set
 *    later are dropped by the source's file system: the file is registered by a thread without
 *    CAP_FSETID, and the kernel writes with the credentials of that moment. Root's writes drop
 *    them then, too; that errs to the safe side.
 *
 * The file is registered by the inode's O_PATH descriptor (Linux 6.16), so that the registration
 * itself is no open file that writers, leases or execve(2) would meet; before 6.16 by the handle's.
 *
 * Pages that the kernel has of an inode from the other mode do not get old: an open that is
 * not answered with FOPEN_KEEP_CACHE, as these here never are, has them dropped.
 */
#include "fs/passthrough/kernel-io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <glib.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/handle.h"
#include "fs/session/kernel-abi.h"

void fs_kernel_io_init(FsKernelIo *kernel_io, const FsCredentials *credentials)
{
    *kernel_io = (FsKernelIo){.device_fd = -1, .credentials = credentials};
    for (unsigned i = 0; i < FS_KERNEL_IO_LOCKS; i++) {
        pthread_mutex_init(&kernel_io->locks[i], NULL);
    }
}

void fs_kernel_io_fini(FsKernelIo *kernel_io)
{
    for (unsigned i = 0; i < FS_KERNEL_IO_LOCKS; i++) {
        pthread_mutex_destroy(&kernel_io->locks[i]);
    }
}

void fs_kernel_io_enable(FsKernelIo *kernel_io, int device_fd)
{
    atomic_store_explicit(&kernel_io->device_fd, device_fd, memory_order_release);
}

static pthread_mutex_t *lock_of(FsKernelIo *kernel_io, const FsInode *inode)
{
    return &kernel_io->locks[fs_inode_id(inode) % FS_KERNEL_IO_LOCKS];
}

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static int register_fd(int device_fd, int fd)
{
    struct fs_fuse_backing_map map = {.fd = fd};
    int id = ioctl(device_fd, FS_FUSE_DEV_IOC_BACKING_OPEN, &map);
    return id < 0 ? -errno : id;
}

static int register_file(FsKernelIo *kernel_io, const FsHandle *handle)
{
    int device_fd = atomic_load_explicit(&kernel_io->device_fd, memory_order_acquire);
    g_auto(FsPathFd) path = fs_inode_path(handle->inode);
    fs_credentials_drop_fsetid(kernel_io->credentials);
    int id = path.fd < 0 ? -EBADF : register_fd(device_fd, path.fd);
    if (id == -EBADF || id == -EOPNOTSUPP || id == -EINVAL) {
        id = register_fd(device_fd, handle->fd);
    }
    fs_credentials_restore_fsetid(kernel_io->credentials);
    return id;
}

/* A backing id for the file of @handle, or 0. */
static int backing_id_for(FsKernelIo *kernel_io, const FsHandle *handle)
{
    int id = -EPERM;
    if (!atomic_load_explicit(&kernel_io->denied, memory_order_relaxed)) {
        id = register_file(kernel_io, handle);
    }
    if (id > 0) {
        return id;
    }
    count(&kernel_io->refused);
    if (id != -EPERM) {
        g_debug("no kernel passthrough for a file: %s", g_strerror(-id));
    } else if (!atomic_exchange(&kernel_io->denied, true)) {
        g_message("kernel passthrough needs CAP_SYS_ADMIN; the daemon reads and writes");
    }
    return 0;
}

/* Nothing is open: who shall do the I/O? */
static void choose_locked(FsKernelIo *kernel_io, const FsHandle *handle)
{
    FsInode *inode = handle->inode;
    if (!inode->backing->kernel_io) {
        count(&kernel_io->unsuited);
        return;
    }
    inode->backing_id = backing_id_for(kernel_io, handle);
}

static bool must_withhold(const FsHandle *handle, int client_flags)
{
    struct stat st;
    if (client_flags & O_APPEND) {
        return true;
    }
    return (client_flags & O_ACCMODE) != O_RDONLY &&
           (fstat(handle->fd, &st) < 0 || (st.st_mode & (S_ISUID | S_ISGID)));
}

int fs_kernel_io_enter(FsKernelIo *kernel_io, FsHandle *handle, int client_flags, bool *withheld)
{
    FsInode *inode = handle->inode;
    pthread_mutex_t *lock = lock_of(kernel_io, inode);
    pthread_mutex_lock(lock);
    if (inode->kernel_handles == 0 && inode->daemon_handles == 0) {
        choose_locked(kernel_io, handle);
    } else if (inode->daemon_handles > 0) {
        count(&kernel_io->mixed);
    }
    int id = inode->backing_id;
    if (id) {
        inode->kernel_handles++;
        count(&kernel_io->opens);
    } else {
        inode->daemon_handles++;
    }
    handle->io_mode = id ? FS_IO_KERNEL : FS_IO_DAEMON;
    pthread_mutex_unlock(lock);
    *withheld = id && must_withhold(handle, client_flags);
    if (*withheld) {
        count(&kernel_io->withheld);
    }
    return id;
}

void fs_kernel_io_leave(FsKernelIo *kernel_io, FsHandle *handle)
{
    FsInode *inode = handle->inode;
    pthread_mutex_t *lock = lock_of(kernel_io, inode);
    pthread_mutex_lock(lock);
    FsIoMode mode = handle->io_mode;
    handle->io_mode = FS_IO_UNCOUNTED;
    int unused = 0;
    if (mode == FS_IO_DAEMON) {
        inode->daemon_handles--;
    } else if (mode == FS_IO_KERNEL && --inode->kernel_handles == 0) {
        unused = inode->backing_id;
        inode->backing_id = 0;
    }
    pthread_mutex_unlock(lock);
    int device_fd = atomic_load_explicit(&kernel_io->device_fd, memory_order_acquire);
    if (unused && device_fd >= 0) {
        uint32_t id = (uint32_t)unused;
        ioctl(device_fd, FS_FUSE_DEV_IOC_BACKING_CLOSE, &id); /* fails if the connection is gone */
    }
}

void fs_kernel_io_get_stats(FsKernelIo *kernel_io, FsKernelIoStats *stats)
{
    *stats = (FsKernelIoStats){
        .opens = atomic_load_explicit(&kernel_io->opens, memory_order_relaxed),
        .withheld = atomic_load_explicit(&kernel_io->withheld, memory_order_relaxed),
        .mixed = atomic_load_explicit(&kernel_io->mixed, memory_order_relaxed),
        .unsuited = atomic_load_explicit(&kernel_io->unsuited, memory_order_relaxed),
        .refused = atomic_load_explicit(&kernel_io->refused, memory_order_relaxed),
    };
}
