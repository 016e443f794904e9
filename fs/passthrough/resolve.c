/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Opening below the root only.
 *
 * How it works: openat2 with RESOLVE_NO_XDEV fails with EXDEV at a mount
 * point; the rare case is then looked at closely. What the kernel guarantees
 * there (fs/namei.c, fs/fuse/dir.c; measured by the case that mounts a
 * directory into itself): an O_PATH open of a FUSE mount's root sends no
 * request, and statx with AT_STATX_DONT_SYNC and an empty mask answers st_dev
 * from memory. A /proc/self/fd/N link leads to the inode that is open, whatever its
 * name is by now, and ends there even if that is a symbolic link.
 */
#include "fs/passthrough/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "aio/error.h"
#include <linux/openat2.h>

#define RESOLVE_INSIDE   (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define EAGAIN_RETRIES   8
#define WANTED_STATX     (STATX_BASIC_STATS | STATX_MNT_ID)
#define O_CHILD          (O_PATH | O_NOFOLLOW | O_CLOEXEC)
#define PROC_SELF_FD_DIR "/proc/self/fd"

static int open_beneath(int parent, const char *name, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = mode, .resolve = resolve};
    for (int i = 0; i < EAGAIN_RETRIES; i++) {
        long fd = syscall(SYS_openat2, parent, name, &how, sizeof(how));
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != EAGAIN && errno != EINTR) {
            break;
        }
    }
    return fs_client_error(errno);
}

static bool probe_openat2(void)
{
    int fd = open_beneath(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_INSIDE);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    return fd != -ENOSYS && fd != -EPERM;
}

bool fs_resolver_init(FsResolver *resolver, GError **error)
{
    memset(resolver, 0, sizeof(*resolver));
    resolver->proc_fd = open(PROC_SELF_FD_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (resolver->proc_fd < 0) {
        int saved = errno;
        g_set_error(error, AIO_ERROR, saved, "cannot open %s: %s; is /proc mounted?",
                    PROC_SELF_FD_DIR, g_strerror(saved));
        return false;
    }
    resolver->have_openat2 = probe_openat2();
    if (!resolver->have_openat2) {
        g_message("openat2 is not available, using openat");
    }
    return true;
}

void fs_resolver_fini(FsResolver *resolver)
{
    close(resolver->proc_fd);
}

int fs_resolve_check_name(const char *name)
{
    size_t length = strnlen(name, NAME_MAX + 1);
    if (length > NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (length == 0 || memchr(name, '/', length) || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    return 0;
}

/* Whether the mount with @mount_id is of a FUSE type; true if it cannot be told. */
static bool mount_is_fuse(uint64_t mount_id)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL)) {
        return true;
    }
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        if (strtoull(line, NULL, 10) == mount_id) {
            const char *type = strstr(line, " - ");
            return !type || strncmp(type + 3, "fuse", 4) == 0;
        }
    }
    return true;
}

static dev_t own_device(FsResolver *resolver)
{
    dev_t device = atomic_load_explicit(&resolver->own, memory_order_relaxed);
    if (!device && resolver->find_own) {
        device = resolver->find_own(resolver->opaque);
        atomic_store_explicit(&resolver->own, device, memory_order_relaxed);
    }
    return device;
}

/* Whether @fd, an O_PATH descriptor, lies on our own mount. Sends no request. */
static bool is_own_mount(FsResolver *resolver, int fd, const char *name)
{
    struct statx stx;
    bool own = true;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) == 0) {
        dev_t device = own_device(resolver);
        if (device) {
            own = makedev(stx.stx_dev_major, stx.stx_dev_minor) == device;
        } else if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0 &&
                   (stx.stx_mask & STATX_MNT_ID)) {
            own = mount_is_fuse(stx.stx_mnt_id);
        }
    }
    if (own && !atomic_exchange(&resolver->warned, true)) {
        g_message("the mount point '%s' is below the source; it answers ELOOP there", name);
    }
    return own;
}

/* Open a child that is, or may be, the root of another mount. */
static int open_across_mount(FsResolver *resolver, int parent, const char *name, bool known)
{
    int fd = resolver->have_openat2 ? open_beneath(parent, name, O_CHILD, 0, RESOLVE_INSIDE)
                                    : openat(parent, name, O_CHILD);
    if (fd < 0) {
        return resolver->have_openat2 ? fd : fs_client_error(errno);
    }
    struct statx child, directory;
    bool crossed = known;
    if (!known) {
        unsigned how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
        crossed = statx(fd, "", how, 0, &child) < 0 || statx(parent, "", how, 0, &directory) < 0 ||
                  child.stx_dev_major != directory.stx_dev_major ||
                  child.stx_dev_minor != directory.stx_dev_minor;
    }
    int error = 0;
    if (crossed && is_own_mount(resolver, fd, name)) {
        error = -ELOOP;
    } else if (crossed && resolver->stay_on_mount) {
        error = -EXDEV;
    }
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int fs_resolve_child(FsResolver *resolver, int parent, const char *name, struct statx *stx)
{
    int error = fs_resolve_check_name(name);
    if (error) {
        return error;
    }
    int fd = -EXDEV;
    if (resolver->have_openat2) {
        fd = open_beneath(parent, name, O_CHILD, 0, RESOLVE_INSIDE | RESOLVE_NO_XDEV);
    }
    if (fd == -EXDEV) {
        fd = open_across_mount(resolver, parent, name, resolver->have_openat2);
    }
    if (fd < 0) {
        return fd;
    }
    error = fs_resolve_statx(fd, stx);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int fs_resolve_statx(int fd, struct statx *stx)
{
    return statx(fd, "", AT_EMPTY_PATH, WANTED_STATX, stx) < 0 ? -errno : 0;
}

int fs_resolve_create(const FsResolver *resolver, int parent, const char *name, int flags,
                      mode_t mode)
{
    int error = fs_resolve_check_name(name);
    if (error) {
        return error;
    }
    flags |= O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    if (resolver->have_openat2) {
        return open_beneath(parent, name, flags, mode, RESOLVE_INSIDE | RESOLVE_NO_XDEV);
    }
    int fd = openat(parent, name, flags, mode);
    return fd < 0 ? fs_client_error(errno) : fd;
}

int fs_resolve_reopen(const FsResolver *resolver, int fd, int flags)
{
    int opened = openat(resolver->proc_fd, fs_resolve_proc_name(fd).text, flags | O_CLOEXEC);
    return opened < 0 ? fs_client_error(errno) : opened;
}

int fs_resolve_path_of(const FsResolver *resolver, int fd)
{
    return fs_resolve_reopen(resolver, fd, O_PATH);
}

FsProcName fs_resolve_proc_name(int fd)
{
    FsProcName name;
    snprintf(name.text, sizeof(name.text), "%d", fd);
    return name;
}

FsProcPath fs_resolve_proc_path(int fd)
{
    FsProcPath path;
    snprintf(path.text, sizeof(path.text), PROC_SELF_FD_DIR "/%d", fd);
    return path;
}
