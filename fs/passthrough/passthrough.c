/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The passthrough file system: parameters, operation table, life cycle.
 *
 * What the operations do and why is told in docs/design/passthrough.md.
 */
#include "fs/passthrough/passthrough.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio/error.h"

#include "fs/passthrough/operations.h"
#include "fs/passthrough/source.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/read-ahead.h"

#define CACHE_AUTO_SECONDS   1.0
#define CACHE_ALWAYS_SECONDS 86400.0

void fs_passthrough_params_init(FsPassthroughParams *params)
{
    *params = (FsPassthroughParams){
        .root_fd = -1,
        .cache = FS_PASSTHROUGH_CACHE_AUTO,
        .attr_timeout = -1,
        .entry_timeout = -1,
        .locks = FS_PASSTHROUGH_LOCKS_LOCAL,
        .xdev = FS_PASSTHROUGH_XDEV_ALLOW,
        .xattr = true,
        .default_permissions = true,
    };
}

static double cache_seconds(FsPassthroughCache cache)
{
    switch (cache) {
    case FS_PASSTHROUGH_CACHE_NONE:
        return 0;
    case FS_PASSTHROUGH_CACHE_AUTO:
        return CACHE_AUTO_SECONDS;
    case FS_PASSTHROUGH_CACHE_ALWAYS:
        return CACHE_ALWAYS_SECONDS;
    }
    return 0;
}

static void settle_timeouts(FsPassthrough *pt)
{
    const FsPassthroughParams *params = &pt->params;
    double by_mode = cache_seconds(params->cache);
    pt->attr_timeout = params->attr_timeout >= 0 ? params->attr_timeout : by_mode;
    pt->entry_timeout = params->entry_timeout >= 0 ? params->entry_timeout : by_mode;
    /* that a name does not exist is believed only if nobody else can create it */
    pt->negative_timeout = params->cache == FS_PASSTHROUGH_CACHE_ALWAYS ? pt->entry_timeout : 0;
}

/* The soft limit to the hard one; returns the limit in force. */
static rlim_t raise_limit(int resource)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0) {
        return 1024;
    }
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(resource, &limit) < 0 ? soft : limit.rlim_max;
}

/* What belongs to the whole process; documented at fs_passthrough_new(). */
static void prepare_process(FsPassthrough *pt)
{
    rlim_t files = raise_limit(RLIMIT_NOFILE);
    unsigned limit = (unsigned)MIN(files, (rlim_t)FS_SLOTS_PER_CHUNK * FS_SLOT_CHUNKS);
    pt->plus_inodes = limit / 2 + limit / 8; /* more than are kept open */
    fs_reclaim_init(&pt->reclaim, limit);
    raise_limit(RLIMIT_FSIZE);
    signal(SIGXFSZ, SIG_IGN);
    umask(0);
    fs_credentials_init(&pt->credentials, pt->params.default_permissions);
    if (pt->credentials.can_switch && setgroups(0, NULL) < 0) {
        g_warning("cannot drop supplementary groups: %s", g_strerror(errno));
    }
}

/* Have file handles of the source at hand if something may use them. False: they cannot be used. */
static bool settle_handles(FsPassthrough *pt, int root, GError **error)
{
    FsPassthroughHandles wanted = pt->params.inode_handles;
    const bool exported = pt->params.export_support;
    const char *hint = "";
    FsHandleName name;
    uint64_t packed;
    pt->kept_inodes = UINT_MAX;
    if (wanted == FS_PASSTHROUGH_HANDLES_NEVER && !exported) {
        return true;
    }
    int result = fs_file_handle_probe(root, &name);
    if (result == -EPERM) {
        hint = " (it takes CAP_DAC_READ_SEARCH)";
    } else if (result == 0 && exported && !fs_handle_pack(&name, &packed)) {
        hint = ": those of this file system are too large to export";
        result = -EOPNOTSUPP;
    }
    if (result == 0) {
        /* the root is known by its descriptor; this makes its mount known */
        pt->root_handle = fs_file_handle_new(&pt->inodes.mounts, &name, root, S_IFDIR);
        result = pt->root_handle ? 0 : -ENFILE;
    }
    if (result < 0) {
        g_set_error(error, AIO_ERROR, -result, "cannot use file handles of the source: %s%s",
                    g_strerror(-result), hint);
        return false;
    }
    if (wanted != FS_PASSTHROUGH_HANDLES_NEVER) {
        pt->kept_inodes = wanted == FS_PASSTHROUGH_HANDLES_ALWAYS ? 1 : pt->reclaim.limit / 2;
    }
    return true;
}

static bool prepare_watch(FsPassthrough *pt, GError **error)
{
    if (pt->params.writeback) {
        g_set_error(error, AIO_ERROR, EINVAL,
                    "cannot watch the source together with writeback: the kernel would not believe "
                    "what others have changed");
        return false;
    }
    pt->watch = fs_watch_new(pt, error);
    return pt->watch;
}

static bool make_root(FsPassthrough *pt, int fd, GError **error)
{
    struct statx stx;
    struct fuse_entry_param entry;
    int result = fs_resolve_statx(fd, &stx);
    if (result == 0 && pt->params.export_support) {
        const FsInodeKey like = fs_inode_key_of(&stx);
        fs_inodes_use_stable_ids(&pt->inodes, &like);
    }
    const int unwatched = result == 0 && pt->watch ? fs_watch_place(pt->watch, fd, &stx) : 0;
    if (unwatched) {
        g_set_error(error, AIO_ERROR, -unwatched, "cannot watch the source: %s%s",
                    g_strerror(-unwatched), fs_watch_explain(-unwatched));
        close(fd);
        return false;
    }
    if (result == 0) {
        result = fs_entry_from_descriptor(pt, fd, &stx, NULL, NULL, &entry, &pt->root);
    } else {
        close(fd);
    }
    if (result < 0) {
        g_set_error(error, AIO_ERROR, -result, "cannot stat the source: %s", g_strerror(-result));
        return false;
    }
    assert(entry.ino == FUSE_ROOT_ID);
    return true;
}

/* The session knows the device of our mount once it is mounted. */
static dev_t find_own_device(void *opaque)
{
    FsPassthrough *pt = opaque;
    return pt->session ? fs_session_device(pt->session) : 0;
}

static bool make_maps(FsPassthrough *pt, const FsPassthroughParams *params, GError **error)
{
    if (!fs_id_map_init(&pt->id_map, params->uid_map, params->gid_map, params->squash, error)) {
        return false;
    }
    if (params->idmap && fs_id_map_is_active(&pt->id_map)) {
        g_set_error(error, AIO_ERROR, EINVAL, "idmap excludes uidmap, gidmap and squash");
        return false;
    }
    pt->xattr_map = params->xattr_map ? fs_xattr_map_new(params->xattr_map, error) : NULL;
    return !params->xattr_map || pt->xattr_map;
}

static void free_maps(FsPassthrough *pt)
{
    fs_id_map_fini(&pt->id_map);
    fs_xattr_map_free(pt->xattr_map);
}

FsPassthrough *fs_passthrough_new(const FsPassthroughParams *params, GError **error)
{
    int root = fs_source_open(params, error);
    if (root < 0) {
        return NULL;
    }
    FsPassthrough *pt = g_new0(FsPassthrough, 1);
    pt->params = *params;
    pt->params.source = pt->params.xattr_map = NULL;
    pt->params.uid_map = pt->params.gid_map = pt->params.squash = NULL;
    pt->params.root_fd = -1;
    if (!make_maps(pt, params, error) || !fs_resolver_init(&pt->resolver, error)) {
        close(root);
        free_maps(pt);
        g_free(pt);
        return NULL;
    }
    pt->resolver.stay_on_mount = params->xdev == FS_PASSTHROUGH_XDEV_DENY;
    pt->resolver.find_own = find_own_device;
    pt->resolver.opaque = pt;
    settle_timeouts(pt);
    prepare_process(pt);
    if (fs_id_map_is_active(&pt->id_map) && !pt->credentials.can_switch) {
        g_message(
            "the daemon is not root: owners are shown by the map, but what is created belongs "
            "to user %u",
            (unsigned)geteuid());
    }
    fs_backings_init(&pt->backings);
    fs_inodes_init(&pt->inodes, fs_close_inode_fd, pt);
    fs_inodes_limit_descriptors(&pt->inodes, &pt->resolver, pt->reclaim.limit / 2);
    fs_handles_init(&pt->handles);
    fs_locks_init(&pt->locks);
    fs_kernel_io_init(&pt->kernel_io, &pt->credentials);
    g_autoptr(GError) no_handles = NULL;
    if (!settle_handles(pt, root, &no_handles) &&
        (params->inode_handles == FS_PASSTHROUGH_HANDLES_ALWAYS || params->export_support)) {
        g_propagate_error(error, g_steal_pointer(&no_handles));
        close(root);
        fs_passthrough_free(pt);
        return NULL;
    }
    if (params->watch && !prepare_watch(pt, error)) {
        close(root);
        fs_passthrough_free(pt);
        return NULL;
    }
    if (!make_root(pt, root, error)) {
        fs_passthrough_free(pt);
        return NULL;
    }
    return pt;
}

void fs_passthrough_free(FsPassthrough *pt)
{
    if (!pt) {
        return;
    }
    pt->session = NULL; /* its helpers are gone */
    fs_locks_fini(&pt->locks);
    fs_handles_fini(&pt->handles);
    fs_kernel_io_fini(&pt->kernel_io);
    fs_file_handle_free(&pt->inodes.mounts, pt->root_handle);
    fs_watch_free(pt->watch);
    fs_inodes_fini(&pt->inodes);
    fs_backings_fini(&pt->backings);
    fs_resolver_fini(&pt->resolver);
    free_maps(pt);
    g_free(pt);
}

void fs_passthrough_attach_session(FsPassthrough *pt, FsSession *session)
{
    pt->session = session;
    if (pt->watch) {
        fs_watch_start(pt->watch, session);
    }
    if (pt->params.passthrough_io != FS_PASSTHROUGH_IO_OFF && !pt->params.writeback) {
        fs_session_want(session, FS_FUSE_PASSTHROUGH);
    }
    if (pt->params.idmap && pt->params.default_permissions) {
        fs_session_want(session, FS_FUSE_ALLOW_IDMAP);
    }
}

void fs_passthrough_read_ahead_as_source(FsPassthrough *pt)
{
    fs_read_ahead_as_source(pt->session, fs_read_ahead_get(pt->root->key.dev));
}

static void op_settled(void *userdata, const FsInitResult *init)
{
    FsPassthrough *pt = userdata;
    fs_stale_pages_settle(&pt->stale_pages, pt->session, init->max_background);
    if (pt->watch) {
        fs_watch_begin(pt->watch, init);
    }
    if (init->flags & FS_FUSE_PASSTHROUGH) {
        fs_kernel_io_enable(&pt->kernel_io, fuse_session_fd(fs_session_fuse(pt->session)));
    } else if (pt->params.passthrough_io == FS_PASSTHROUGH_IO_ON) {
        g_warning("no kernel passthrough: %s; the daemon reads and writes",
                  pt->params.writeback ? "the kernel does not allow it with writeback"
                                       : "the kernel does not offer it (Linux 6.9)");
    }
    if (pt->params.idmap && !(init->flags & FS_FUSE_ALLOW_IDMAP)) {
        g_warning("no id-mapped mounts of this mount: %s",
                  pt->params.default_permissions ? "the kernel does not offer it (Linux 6.12)"
                                                 : "the kernel does not check permissions");
    }
}

static void op_ending(void *userdata)
{
    FsPassthrough *pt = userdata;
    fs_stale_pages_end(&pt->stale_pages);
    if (pt->watch) {
        fs_watch_stop(pt->watch);
    }
}

FsPassthroughCounters *fs_passthrough_counters(FsPassthrough *pt)
{
    int cpu = sched_getcpu();
    return &pt->counters[cpu > 0 ? cpu % FS_COUNTER_SHARDS : 0];
}

void fs_passthrough_get_stats(FsPassthrough *pt, FsPassthroughStats *stats)
{
    *stats = (FsPassthroughStats){
        .inodes = fs_slots_live(&pt->inodes.slots),
        .descriptors = fs_inode_descriptors(&pt->inodes),
        .handles = fs_slots_live(&pt->handles.slots),
        .descriptors_closed = atomic_load_explicit(&pt->inodes.open.closed, memory_order_relaxed),
        .descriptors_reopened =
            atomic_load_explicit(&pt->inodes.open.reopened, memory_order_relaxed),
        .descriptors_stale = atomic_load_explicit(&pt->inodes.open.stale, memory_order_relaxed),
        .reclaim_asked = atomic_load_explicit(&pt->reclaim.asked, memory_order_relaxed),
    };
    for (unsigned i = 0; i < FS_COUNTER_SHARDS; i++) {
        FsPassthroughCounters *counters = &pt->counters[i];
        stats->reads_inline += atomic_load_explicit(&counters->reads_inline, memory_order_relaxed);
        stats->reads_ring += atomic_load_explicit(&counters->reads_ring, memory_order_relaxed);
        stats->writes_inline +=
            atomic_load_explicit(&counters->writes_inline, memory_order_relaxed);
        stats->writes_ring += atomic_load_explicit(&counters->writes_ring, memory_order_relaxed);
        stats->lock_waits += atomic_load_explicit(&counters->lock_waits, memory_order_relaxed);
    }
    fs_kernel_io_get_stats(&pt->kernel_io, &stats->kernel_io);
    if (pt->watch) {
        fs_watch_get_stats(pt->watch, &stats->watch);
    }
}

/* Lists that are hidden, or are to have another name, nobody can follow. */
static bool keeps_acls(const FsPassthrough *pt)
{
    return !pt->xattr_map || (fs_xattr_map_keeps(pt->xattr_map, FS_XATTR_ACL_ACCESS) &&
                              fs_xattr_map_keeps(pt->xattr_map, FS_XATTR_ACL_DEFAULT));
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    FsPassthrough *pt = userdata;
    /* its older form drops set-id bits at every write, also root's; V2 tells when */
    conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
    if (pt->params.writeback && (conn->capable & FUSE_CAP_WRITEBACK_CACHE)) {
        conn->want |= FUSE_CAP_WRITEBACK_CACHE;
        atomic_store(&pt->writeback, true);
    } else if (pt->params.writeback) {
        g_message("the kernel has no writeback cache: writes are sent one by one");
    }
    if (pt->params.xattr && pt->params.default_permissions && keeps_acls(pt)) {
        /* the kernel then also decides by the access control lists that the source stores */
        conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
    }
    if (pt->params.export_support) {
        conn->want |= conn->capable & FUSE_CAP_EXPORT_SUPPORT;
    }
    if (pt->params.locks == FS_PASSTHROUGH_LOCKS_LOCAL) {
        conn->want &= ~(unsigned)(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
    }
    if (pt->params.cache == FS_PASSTHROUGH_CACHE_ALWAYS) {
        conn->want |= conn->capable & FUSE_CAP_CACHE_SYMLINKS;
        conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
    }
    pt->unannounced_dirs =
        (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) && fs_dirs_need_no_opening(pt);
}

static const FsFilesystem filesystem = {
    .name = "passthrough",
    /* unless EXPORT_SUPPORT: a node id that was forgotten means nothing, nor does a file handle */
    .want_flags =
        FS_FUSE_NO_EXPORT_SUPPORT | FUSE_DONT_MASK | FUSE_SETXATTR_EXT | FS_FUSE_CREATE_SUPP_GROUP,
    .settled = op_settled,
    .ending = op_ending,
    .ops =
        {
            .init = op_init,
            .lookup = fs_op_lookup,
            .forget = fs_op_forget,
            .forget_multi = fs_op_forget_multi,
            .getattr = fs_op_getattr,
            .setattr = fs_op_setattr,
            .statfs = fs_op_statfs,
            .access = fs_op_access,
            .opendir = fs_op_opendir,
            .readdir = fs_op_readdir,
            .readdirplus = fs_op_readdirplus,
            .releasedir = fs_op_releasedir,
            .fsyncdir = fs_op_fsync,
            .open = fs_op_open,
            .create = fs_op_create,
            .flush = fs_op_flush,
            .release = fs_op_release,
            .read = fs_op_read,
            .write = fs_op_write,
            .fsync = fs_op_fsync,
            .fallocate = fs_op_fallocate,
            .lseek = fs_op_lseek,
            .copy_file_range = fs_op_copy_file_range,
            .ioctl = fs_op_ioctl,
            .readlink = fs_op_readlink,
            .mknod = fs_op_mknod,
            .mkdir = fs_op_mkdir,
            .symlink = fs_op_symlink,
            .link = fs_op_link,
            .unlink = fs_op_unlink,
            .rmdir = fs_op_rmdir,
            .rename = fs_op_rename,
            .setxattr = fs_op_setxattr,
            .getxattr = fs_op_getxattr,
            .listxattr = fs_op_listxattr,
            .removexattr = fs_op_removexattr,
            .getlk = fs_op_getlk,
            .setlk = fs_op_setlk,
            .flock = fs_op_flock,
        },
    .extra =
        {
            .statx = fs_op_statx,
            .tmpfile = fs_op_tmpfile,
        },
};

const FsFilesystem *fs_passthrough_filesystem(void)
{
    return &filesystem;
}
