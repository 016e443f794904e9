/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * From a directory and a name to a descriptor.
 *
 * Nothing here follows a symbolic link, leaves the source or sends a request
 * to our own mount. Every function returns a negative errno on failure; our own EMFILE
 * becomes ENFILE, since the client is not the one with too many open files.
 */
#ifndef SLUICE_FS_PASSTHROUGH_RESOLVE_H
#define SLUICE_FS_PASSTHROUGH_RESOLVE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include <glib.h>

typedef struct FsResolver {
    int proc_fd;                     /**< O_PATH of /proc/self/fd */
    bool have_openat2;               /**< else openat and a comparison of devices */
    bool stay_on_mount;              /**< other mounts below the source answer EXDEV */
    _Atomic dev_t own;               /**< st_dev of our mount; 0: not known yet */
    dev_t (*find_own)(void *opaque); /**< asked while it is not known; may be NULL */
    void *opaque;
    _Atomic bool warned; /**< that the mount is below the source */
} FsResolver;

bool fs_resolver_init(FsResolver *resolver, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void fs_resolver_fini(FsResolver *resolver);

/** 0 for a name that is one component and not "." or "..", else -EINVAL or -ENAMETOOLONG. */
int fs_resolve_check_name(const char *name);

/**
 * Open @name below @parent with O_PATH. *@stx gets the basic attributes and,
 * where the kernel has it, the mount id. ELOOP: it is our own mount.
 */
int fs_resolve_child(FsResolver *resolver, int parent, const char *name, struct statx *stx);

/** @error (positive) for the client: it is not told that it has too many files open, we have. */
static inline int fs_client_error(int error)
{
    return error == EMFILE ? -ENFILE : -error;
}

/** Create @name below @parent and open it with @flags; EEXIST if it exists. */
int fs_resolve_create(const FsResolver *resolver, int parent, const char *name, int flags,
                      mode_t mode);

/** Open the very inode behind @fd (an O_PATH descriptor of a non-symlink) with @flags. */
int fs_resolve_reopen(const FsResolver *resolver, int fd, int flags);

/** An O_PATH descriptor for the inode of an open file. */
int fs_resolve_path_of(const FsResolver *resolver, int fd);

/** The attributes an entry needs, of an O_PATH descriptor. 0 or negative errno. */
int fs_resolve_statx(int fd, struct statx *stx);

/** The name below resolver->proc_fd that stands for @fd, for calls of the *at() family. */
typedef struct FsProcName {
    char text[12];
} FsProcName;
FsProcName fs_resolve_proc_name(int fd);

/** The absolute path that stands for @fd, for calls without an *at() form. */
typedef struct FsProcPath {
    char text[32];
} FsProcPath;
FsProcPath fs_resolve_proc_path(int fd);

#endif /* SLUICE_FS_PASSTHROUGH_RESOLVE_H */
