/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsPassthrough: a directory of the host, served as it is.
 *
 * Everything is reached below one root descriptor, one component at a time;
 * no symbolic link, rename or ".." of a client leads out of it, and the
 * daemon never sends a request to its own mount.
 *
 *     FsPassthroughParams params;
 *     fs_passthrough_params_init(&params);
 *     params.source = "/srv/data";
 *     FsPassthrough *pt = fs_passthrough_new(&params, &error);
 *     session_params.filesystem = fs_passthrough_filesystem();
 *     session_params.userdata = pt;
 *     ... fs_session_new(), then fs_passthrough_attach_session() ...
 *     fs_session_free(session);
 *     fs_passthrough_free(pt);
 */
#ifndef SLUICE_FS_PASSTHROUGH_PASSTHROUGH_H
#define SLUICE_FS_PASSTHROUGH_PASSTHROUGH_H

#include <stdbool.h>

#include <glib.h>

#include "fs/passthrough/kernel-io.h"
#include "fs/passthrough/watch.h"
#include "fs/session/filesystem.h"
#include "fs/session/session.h"

typedef struct FsPassthrough FsPassthrough;

/** How long the kernel may believe what it was told. */
typedef enum FsPassthroughCache {
    FS_PASSTHROUGH_CACHE_NONE,   /**< nothing is cached: others change the source */
    FS_PASSTHROUGH_CACHE_AUTO,   /**< 1 s; file pages kept until mtime or size changed */
    FS_PASSTHROUGH_CACHE_ALWAYS, /**< a day: only this mount changes the source */
} FsPassthroughCache;

/** Who decides about fcntl() and flock() locks. */
typedef enum FsPassthroughLocks {
    FS_PASSTHROUGH_LOCKS_LOCAL,  /**< the kernel, among the users of the mount */
    FS_PASSTHROUGH_LOCKS_REMOTE, /**< the source, together with its other users */
} FsPassthroughLocks;

/** Other mounts found below the source. Our own mount always answers ELOOP. */
typedef enum FsPassthroughXdev {
    FS_PASSTHROUGH_XDEV_ALLOW, /**< shown */
    FS_PASSTHROUGH_XDEV_DENY,  /**< EXDEV when they are entered */
} FsPassthroughXdev;

/** Whether the kernel reads, writes and maps files of the source itself. */
typedef enum FsPassthroughIo {
    FS_PASSTHROUGH_IO_OFF,  /**< never */
    FS_PASSTHROUGH_IO_AUTO, /**< where it can */
    FS_PASSTHROUGH_IO_ON,   /**< where it can, with a warning if it cannot at all */
} FsPassthroughIo;

/** What the daemon holds of each inode that the kernel knows. */
typedef enum FsPassthroughHandles {
    FS_PASSTHROUGH_HANDLES_AUTO,   /**< descriptors while there are many left, then file handles */
    FS_PASSTHROUGH_HANDLES_NEVER,  /**< a descriptor */
    FS_PASSTHROUGH_HANDLES_ALWAYS, /**< a file handle; refused where the source has none */
} FsPassthroughHandles;

typedef struct FsPassthroughParams {
    const char *source;       /**< the directory; NULL: root_fd */
    int root_fd;              /**< an open directory, duplicated; used if source is NULL */
    FsPassthroughCache cache; /**< default: auto */
    double attr_timeout;      /**< seconds; negative (default): as cache says */
    double entry_timeout;     /**< seconds; negative (default): as cache says */
    FsPassthroughLocks locks; /**< default: local */
    FsPassthroughXdev xdev;   /**< default: allow */
    FsPassthroughHandles inode_handles; /**< default: auto */
    FsPassthroughIo passthrough_io;     /**< default: off; not together with writeback */
    /**
     * The mount may be mounted once more with id mappings (Linux 6.12); needs
     * default_permissions. Default: no.
     */
    bool idmap;
    /**
     * User and group ids of the mount differ from those of the source; see fs_id_map_init(). Not
     * together with idmap. NULL (default): no.
     */
    const char *uid_map, *gid_map, *squash;
    /**
     * What others change in the source is taken out of the kernel's caches at once, whatever the
     * timeouts; not together with writeback. Needs CAP_SYS_ADMIN. Default: no.
     */
    bool watch;
    bool export_support;   /**< clients' file handles stay valid; default: no */
    bool writeback;        /**< the kernel collects writes; default: no */
    bool noatime;          /**< reading leaves the source's access times alone; default: no */
    bool nodiratime;       /**< the same for listing directories only; default: no */
    bool strictatime;      /**< reading moves them always, where the daemon may; default: no */
    bool no_trim;          /**< FITRIM is EROFS; default: no */
    bool xattr;            /**< extended attributes are offered; default: yes */
    const char *xattr_map; /**< rules of fs_xattr_map_new(); NULL (default): names are the same */
    /**
     * The mount has default_permissions: the kernel has already checked the
     * caller, supplementary groups included. Default: yes. Without it, what
     * is created is checked by the host against the caller's uid and gid.
     */
    bool default_permissions;
} FsPassthroughParams;

/** Fill *params with the defaults; source and root_fd are still to be set. */
void fs_passthrough_params_init(FsPassthroughParams *params);

/**
 * Open the source.
 *
 * Call it in the process that serves, after any fork: /proc/self/fd is kept
 * open. Raises the soft limits of open files and file size to the hard ones,
 * clears the umask and ignores SIGXFSZ, for the whole process. *params is not
 * needed afterwards.
 */
FsPassthrough *fs_passthrough_new(const FsPassthroughParams *params,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Close everything, also what the kernel did not forget. After the session is freed. */
void fs_passthrough_free(FsPassthrough *pt);

/** The operations; their userdata is an FsPassthrough. */
const FsFilesystem *fs_passthrough_filesystem(void);

/**
 * Tell which session serves @pt: its st_dev is refused below the source, its
 * helpers take the calls that may wait, its INIT asks for kernel passthrough if
 * that is wanted. Before fs_session_start().
 */
void fs_passthrough_attach_session(FsPassthrough *pt, FsSession *session);

/**
 * Let the mount read ahead as far as the source does, up to 1 MiB, where the daemon may
 * change that. Once the mount serves; any thread.
 */
void fs_passthrough_read_ahead_as_source(FsPassthrough *pt);

typedef struct FsPassthroughStats {
    uint64_t inodes;               /**< the kernel knows of */
    uint64_t descriptors;          /**< held open by them */
    uint64_t descriptors_closed;   /**< by us, to stay below the limit */
    uint64_t descriptors_reopened; /**< of those, when they were needed */
    uint64_t descriptors_stale;    /**< of those, found no more where they were last seen */
    uint64_t handles;              /**< open files and directories */
    uint64_t reads_inline;         /**< answered from memory without waiting */
    uint64_t reads_ring;           /**< read on the worker's ring */
    uint64_t writes_inline;        /**< written without waiting for the disk */
    uint64_t writes_ring;          /**< written on the worker's ring */
    uint64_t lock_waits;           /**< lock requests that had to wait */
    uint64_t reclaim_asked;        /**< unused inodes the kernel was asked to forget */
    FsKernelIoStats kernel_io;
    FsWatchStats watch;
} FsPassthroughStats;

/** Any thread. */
void fs_passthrough_get_stats(FsPassthrough *pt, FsPassthroughStats *stats);

#endif /* SLUICE_FS_PASSTHROUGH_PASSTHROUGH_H */
