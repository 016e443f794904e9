/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs passthrough: serve a directory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <gio/gio.h>

#include "fs/passthrough/id-map.h"
#include "fs/passthrough/passthrough.h"
#include "fs/passthrough/xattr-map.h"
#include "tools/sluicefs/serve.h"
#include "tools/sluicefs/statistics.h"

static void *passthrough_open(const Options *options, const char *source, GError **error)
{
    static const FsPassthroughCache cache[] = {
        [CACHE_NONE] = FS_PASSTHROUGH_CACHE_NONE,
        [CACHE_AUTO] = FS_PASSTHROUGH_CACHE_AUTO,
        [CACHE_ALWAYS] = FS_PASSTHROUGH_CACHE_ALWAYS,
    };
    static const FsPassthroughHandles handles[] = {
        [HANDLES_AUTO] = FS_PASSTHROUGH_HANDLES_AUTO,
        [HANDLES_NEVER] = FS_PASSTHROUGH_HANDLES_NEVER,
        [HANDLES_ALWAYS] = FS_PASSTHROUGH_HANDLES_ALWAYS,
    };
    static const FsPassthroughIo passthrough_io[] = {
        [PASSTHROUGH_IO_OFF] = FS_PASSTHROUGH_IO_OFF,
        [PASSTHROUGH_IO_AUTO] = FS_PASSTHROUGH_IO_AUTO,
        [PASSTHROUGH_IO_ON] = FS_PASSTHROUGH_IO_ON,
    };
    FsPassthroughParams params;

    fs_passthrough_params_init(&params);
    params.source = source;
    params.cache = cache[options->cache];
    params.attr_timeout = options->attr_timeout;
    params.entry_timeout = options->entry_timeout;
    params.locks =
        options->locks == LOCKS_REMOTE ? FS_PASSTHROUGH_LOCKS_REMOTE : FS_PASSTHROUGH_LOCKS_LOCAL;
    params.xdev = options->xdev == XDEV_DENY ? FS_PASSTHROUGH_XDEV_DENY : FS_PASSTHROUGH_XDEV_ALLOW;
    params.inode_handles = handles[options->inode_handles];
    params.passthrough_io = passthrough_io[options->passthrough_io];
    params.export_support = options->export_support;
    params.idmap = options->idmap;
    params.watch = options->watch_source;
    params.writeback = options->writeback;
    params.xattr = options->xattr;
    params.xattr_map = options->xattrmap;
    params.uid_map = options->uidmap;
    params.gid_map = options->gidmap;
    params.squash = options->squash;
    params.noatime = (options->mount_set & (MS_NOATIME | MS_RDONLY)) != 0;
    params.nodiratime = (options->mount_set & MS_NODIRATIME) != 0;
    params.strictatime = !params.noatime && (options->mount_set & MS_STRICTATIME) != 0;
    params.no_trim = options->norecovery;
    params.default_permissions = options->default_permissions;
    return fs_passthrough_new(&params, error);
}

static void passthrough_attach(void *userdata, FsSession *session)
{
    fs_passthrough_attach_session(userdata, session);
}

static void passthrough_ready(void *userdata)
{
    fs_passthrough_read_ahead_as_source(userdata);
}

static void passthrough_append_stats(void *userdata, GString *out)
{
    FsPassthroughStats stats;

    fs_passthrough_get_stats(userdata, &stats);
    statistics_append(out, "inodes", stats.inodes);
    statistics_append(out, "descriptors", stats.descriptors);
    statistics_append(out, "descriptors_closed", stats.descriptors_closed);
    statistics_append(out, "descriptors_reopened", stats.descriptors_reopened);
    statistics_append(out, "descriptors_stale", stats.descriptors_stale);
    statistics_append(out, "handles", stats.handles);
    statistics_append(out, "reads_inline", stats.reads_inline);
    statistics_append(out, "reads_ring", stats.reads_ring);
    statistics_append(out, "writes_inline", stats.writes_inline);
    statistics_append(out, "writes_ring", stats.writes_ring);
    statistics_append(out, "lock_waits", stats.lock_waits);
    statistics_append(out, "kernel_io_opens", stats.kernel_io.opens);
    statistics_append(out, "kernel_io_withheld", stats.kernel_io.withheld);
    statistics_append(out, "kernel_io_mixed", stats.kernel_io.mixed);
    statistics_append(out, "kernel_io_unsuited", stats.kernel_io.unsuited);
    statistics_append(out, "kernel_io_refused", stats.kernel_io.refused);
    statistics_append(out, "watch_events", stats.watch.events);
    statistics_append(out, "watch_own", stats.watch.own);
    statistics_append(out, "watch_notifications", stats.watch.notifications);
    statistics_append(out, "watch_overflows", stats.watch.overflows);
}

static void passthrough_close(void *userdata)
{
    fs_passthrough_free(userdata);
}

static const ServeBackend passthrough_backend = {
    .command = "passthrough",
    .filesystem = fs_passthrough_filesystem,
    .open = passthrough_open,
    .attach = passthrough_attach,
    .ready = passthrough_ready,
    .append_stats = passthrough_append_stats,
    .close = passthrough_close,
};

/* The absolute path of the directory to serve. Free with free(). */
static char *resolve_source(const char *source)
{
    char *resolved = realpath(source, NULL);
    struct stat st;

    if (resolved != NULL && stat(resolved, &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            return resolved;
        }
        errno = ENOTDIR;
    }
    g_printerr("sluicefs: cannot serve '%s': %s%s\n", source, g_strerror(errno),
               errno == ENOTDIR ? " (the source must be a directory)" : "");
    free(resolved);
    return NULL;
}

/* What would fail only once the source is opened, in the background, fails here. */
static bool check_options(const Options *options, GError **error)
{
    g_autoptr(FsXattrMap) map = NULL;
    g_auto(FsIdMap) ids = {0};

    if (!fs_id_map_init(&ids, options->uidmap, options->gidmap, options->squash, error)) {
        return false;
    }
    if (options->idmap && fs_id_map_is_active(&ids)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "idmap lets the kernel map ids: uidmap, gidmap and squash cannot do it, too");
        return false;
    }
    if (options->idmap && !options->default_permissions) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "idmap and default_permissions=no contradict each other: the kernel maps ids "
                    "only where it checks permissions");
        return false;
    }
    if (options->xattrmap == NULL) {
        return true;
    }
    if (!options->xattr) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "xattrmap and xattr=no contradict each other");
        return false;
    }
    map = fs_xattr_map_new(options->xattrmap, error);
    return map != NULL;
}

int passthrough_run(Options *options)
{
    guint count = options->arguments->len;
    const char *first = g_ptr_array_index(options->arguments, 0);
    const char *mountpoint = g_ptr_array_index(options->arguments, count - 1);
    const char *source = options->source, *shown;
    g_autoptr(GError) error = NULL;
    char *resolved;
    int status;

    if (!check_options(options, &error)) {
        return command_usage_error(command_find("passthrough"), "%s", error->message);
    }
    if (source == NULL && count == 1) {
        return command_usage_error(command_find("passthrough"),
                                   "passthrough needs SRC and MNT, only '%s' is given", first);
    }
    shown = count == 2 ? first : source;
    if (source == NULL) {
        source = first;
    }
    if (g_str_has_prefix(source, "source:")) {
        source += strlen("source:");
    }
    resolved = resolve_source(source);
    if (resolved == NULL) {
        return EXIT_FAILED;
    }
    status = serve_run(&passthrough_backend, options, resolved, shown, mountpoint);
    free(resolved);
    return status;
}
