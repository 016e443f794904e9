/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** LOOKUP and FORGET: inodes enter and leave the kernel's knowledge. */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/passthrough/operations.h"

#define WATCH_ENTRY_SECONDS 60.0 /* where lost events may have been about any name */

/*
 * See whether the file is to be known by handle, and get the handle if it is, or if it
 * might be already. 0 or negative errno.
 */
static int find_handle(FsPassthrough *pt, FsInodeFound *found, FsHandleName *handle)
{
    bool lasting = !found->backing->fleeting_handles ||
                   pt->params.inode_handles == FS_PASSTHROUGH_HANDLES_ALWAYS;
    found->by_handle = lasting && fs_inode_descriptors(&pt->inodes) >= pt->kept_inodes;
    bool needed = found->by_handle || pt->params.export_support ||
                  atomic_load_explicit(&pt->inodes.by_handle, memory_order_relaxed) > 0;
    if (!needed || atomic_load_explicit(&found->backing->no_handles, memory_order_relaxed)) {
        return 0;
    }
    int error = fs_file_handle_read(found->fd, handle);
    if (error == -EOPNOTSUPP) {
        atomic_store_explicit(&found->backing->no_handles, true, memory_order_relaxed);
        return 0;
    }
    found->handle = handle;
    return error;
}

void fs_entry_pin(FsPassthrough *pt, int parent_fd, const char *name)
{
    if (parent_fd < 0 || atomic_load_explicit(&pt->inodes.by_handle, memory_order_relaxed) == 0) {
        return;
    }
    struct statx stx;
    FsHandleName handle;
    int fd = fs_resolve_child(&pt->resolver, parent_fd, name, &stx);
    if (fd < 0) {
        return;
    }
    FsInodeFound found = {.key = fs_inode_key_of(&stx), .fd = fd, .handle = &handle};
    if ((stx.stx_nlink > 1 && !S_ISDIR(stx.stx_mode)) || fs_file_handle_read(fd, &handle) < 0) {
        close(fd);
        return;
    }
    fs_inode_pin(&pt->inodes, &found);
}

/* How long the kernel may believe a name on @backing, or that there is none: at most @timeout. */
static double name_timeout(const FsPassthrough *pt, const FsBacking *backing, double timeout)
{
    timeout = fs_timeout(backing, timeout);
    const bool lasting = !pt->watch || fs_watch_can_drop_names(pt->watch);
    return lasting ? timeout : MIN(timeout, WATCH_ENTRY_SECONDS);
}

/*
 * Have what @fd lies on watched, then take its attributes: events cover what changes later.
 * 0 or negative errno.
 */
static int watch_and_stat(FsPassthrough *pt, int fd, struct statx *stx, bool *watched,
                          uint64_t *sequence)
{
    *watched = fs_watch_place(pt->watch, fd, stx) == 0;
    *sequence = fs_watch_sequence(pt->watch);
    return fs_resolve_statx(fd, stx);
}

int fs_entry_from_descriptor(FsPassthrough *pt, int fd, const struct statx *found_stx,
                             const FsInode *parent, const char *name,
                             struct fuse_entry_param *entry, FsInode **inode_out)
{
    struct statx fresh;
    const struct statx *stx = found_stx;
    uint64_t sequence = 0;
    bool watched = true;
    if (pt->watch) {
        fresh = *found_stx;
        int result = watch_and_stat(pt, fd, &fresh, &watched, &sequence);
        if (result) {
            close(fd);
            return result;
        }
        stx = &fresh;
    }
    memset(entry, 0, sizeof(*entry));
    fs_stat_from_statx(&entry->attr, stx);
    fs_show_ids(pt, &entry->attr.st_uid, &entry->attr.st_gid);
    FsInodeKey key = fs_inode_key_of(stx);
    FsHandleName handle;
    FsInodeFound found = {.key = key, .fd = fd, .type = entry->attr.st_mode};
    found.parent = parent;
    found.name = name;
    found.backing = fs_backing_get(&pt->backings, key.dev, fd);
    int error = found.backing ? find_handle(pt, &found, &handle) : -ENOMEM;
    if (error) {
        close(fd);
        return error;
    }
    FsBacking *backing = found.backing;
    g_autoptr(FsInode) inode = fs_inode_lookup_found(&pt->inodes, &found);
    if (!inode) {
        return -ENOMEM;
    }
    entry->ino = fs_inode_id(inode);
    entry->generation = fs_inode_generation(inode);
    entry->attr.st_ino = fs_backing_shown_ino(backing, key.ino);
    if (!watched) {
        /* for good: another mount of it may be watched */
        atomic_store_explicit(&backing->unwatched, true, memory_order_relaxed);
    }
    entry->attr_timeout = fs_timeout(backing, pt->attr_timeout);
    entry->entry_timeout = name_timeout(pt, backing, pt->entry_timeout);
    if (pt->watch && fs_watch_sequence(pt->watch) != sequence) {
        entry->attr_timeout = 0; /* that may have been about this file, and came too early */
    }
    fs_inodes_trim(&pt->inodes);
    fs_reclaim_check(pt);
    if (inode_out) {
        *inode_out = g_steal_pointer(&inode);
    }
    return 0;
}

int fs_entry_lookup(FsPassthrough *pt, const FsInode *parent, const char *name,
                    struct fuse_entry_param *entry, FsInode **inode)
{
    struct statx stx;
    const uint64_t sequence = pt->watch ? fs_watch_sequence(pt->watch) : 0;
    g_auto(FsPathFd) path = fs_inode_path(parent);
    int fd;
    FsRoom room = {0};
    do {
        fd = path.fd < 0 ? path.fd : fs_resolve_child(&pt->resolver, path.fd, name, &stx);
    } while (fs_inodes_room_made(&pt->inodes, fd, &room));
    int error = fd < 0 ? fd : fs_entry_from_descriptor(pt, fd, &stx, parent, name, entry, inode);
    if (error == -ENOENT) {
        double timeout = name_timeout(pt, parent->backing, pt->negative_timeout);
        *entry = (struct fuse_entry_param){.entry_timeout = timeout};
    }
    if (pt->watch && (!error || error == -ENOENT) && fs_watch_sequence(pt->watch) != sequence) {
        entry->attr_timeout = entry->entry_timeout = 0; /* that may have been about this name */
    }
    return error;
}

void fs_entry_reply(fuse_req_t req, FsPassthrough *pt, const struct fuse_entry_param *entry)
{
    uint64_t id = entry->ino;
    if (fuse_reply_entry(req, entry) == -ENOENT) {
        fs_inode_forget(&pt->inodes, id, 1);
    }
}

static void lookup_reply(fuse_req_t req, int error, const struct fuse_entry_param *entry)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (error == -ENOENT && entry->entry_timeout > 0) {
        fuse_reply_entry(req, entry);
    } else if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_reply(req, pt, entry);
    }
}

/* Whether a directory (O_PATH) is the root or below it. */
static bool is_inside(const FsPassthrough *pt, int dir)
{
    const FsInodeKey *root = &pt->root->key;
    const unsigned how = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
    FsInodeKey last = {0};
    int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    bool inside = false;
    struct statx stx;
    while (fd >= 0 && !inside && statx(fd, "", how, STATX_INO | STATX_MNT_ID, &stx) == 0) {
        FsInodeKey key = fs_inode_key_of(&stx);
        if (key.dev == last.dev && key.ino == last.ino && key.mount_id == last.mount_id) {
            break; /* the host's root */
        }
        inside = key.dev == root->dev && key.ino == root->ino && key.mount_id == root->mount_id;
        last = key;
        int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = up;
    }
    if (fd >= 0) {
        close(fd);
    }
    return inside;
}

/* An entry for @fd, consumed, which came from a file handle of a client. */
static int entry_from_outside(FsPassthrough *pt, int fd, struct fuse_entry_param *entry)
{
    struct statx stx;
    int error = fd < 0 ? fd : fs_resolve_statx(fd, &stx);
    if (!error && (stx.stx_nlink == 0 || (S_ISDIR(stx.stx_mode) && !is_inside(pt, fd)))) {
        error = -ESTALE;
    }
    if (error) {
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    return fs_entry_from_descriptor(pt, fd, &stx, NULL, NULL, entry, NULL);
}

/* LOOKUP of ".": the kernel has a node id from a file handle, and may have forgotten it. */
static int lookup_itself(FsPassthrough *pt, uint64_t id, struct fuse_entry_param *entry)
{
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, id);
    int fd;
    if (inode) {
        g_auto(FsPathFd) path = fs_inode_path(inode);
        fd = path.fd < 0 ? path.fd : fcntl(path.fd, F_DUPFD_CLOEXEC, 0);
        fd = path.fd >= 0 && fd < 0 ? -ENFILE : fd;
    } else {
        fd = fs_handle_open_packed(pt->root_handle, id);
    }
    int error = entry_from_outside(pt, fd, entry);
    if (!error && entry->ino != id) {
        fs_inode_forget(&pt->inodes, entry->ino, 1);
        error = -ESTALE;
    }
    return error == -ENOENT ? -ESTALE : error;
}

/* LOOKUP of "..": where a directory hangs that was reached by its handle. */
static int lookup_parent(FsPassthrough *pt, uint64_t id, struct fuse_entry_param *entry)
{
    g_autoptr(FsInode) inode = fs_inode_get(&pt->inodes, id);
    if (!inode || inode == pt->root) {
        return -ESTALE;
    }
    g_auto(FsPathFd) path = fs_inode_path(inode);
    if (path.fd < 0) {
        return path.fd;
    }
    int fd = openat(path.fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return entry_from_outside(pt, fd < 0 ? -errno : fd, entry);
}

typedef struct LookupCall {
    FsInode *parent; /* referenced */
    const char *name;
    FsLookupFor what;
} LookupCall;

static void reply_found(fuse_req_t req, const FsInode *parent, FsLookupFor what, int error,
                        struct fuse_entry_param *entry)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (what == FS_LOOKUP_LINKED && !error) {
        entry->attr_timeout = fs_changed_timeout(pt, parent->backing);
    }
    if (what == FS_LOOKUP_ITSELF) {
        lookup_reply(req, error, entry);
    } else if (error) {
        fuse_reply_err(req, -error);
    } else {
        fs_entry_reply(req, pt, entry);
    }
}

static void look_up_on_helper(FsRequest *request, void *opaque)
{
    fuse_req_t req = fs_request_fuse(request);
    FsPassthrough *pt = fs_passthrough_of(req);
    LookupCall *call = opaque;
    struct fuse_entry_param entry;
    unsigned tries = 0;
    int error = -ENFILE;
    while (fs_reclaim_made_room(pt, error, &tries)) {
        error = fs_entry_lookup(pt, call->parent, call->name, &entry, NULL);
    }
    reply_found(req, call->parent, call->what, error, &entry);
    fs_inode_put(call->parent);
    g_free(call);
}

void fs_entry_lookup_reply(fuse_req_t req, FsInode *parent, const char *name, FsLookupFor what)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    struct fuse_entry_param entry;
    int error = fs_entry_lookup(pt, parent, name, &entry, NULL);
    if (error == -ENFILE) {
        LookupCall *call = g_new(LookupCall, 1);
        *call = (LookupCall){.parent = fs_inode_ref(parent), .name = name, .what = what};
        fs_request_offload(fs_request_current(), NULL, look_up_on_helper, call);
        return;
    }
    reply_found(req, parent, what, error, &entry);
}

void fs_op_lookup(fuse_req_t req, fuse_ino_t parent_id, const char *name)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    if (pt->params.export_support && (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)) {
        struct fuse_entry_param entry = {0};
        int error =
            name[1] ? lookup_parent(pt, parent_id, &entry) : lookup_itself(pt, parent_id, &entry);
        lookup_reply(req, error, &entry);
        return;
    }
    g_autoptr(FsInode) parent = fs_inode_get(&pt->inodes, parent_id);
    if (!parent) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    fs_entry_lookup_reply(req, parent, name, FS_LOOKUP_ITSELF);
}

static void forget(FsPassthrough *pt, uint64_t id, uint64_t count)
{
    if (!fs_inode_forget(&pt->inodes, id, count)) {
        g_debug("forget of node %" G_GUINT64_FORMAT ": more than was looked up", id);
    }
}

void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    forget(fs_passthrough_of(req), ino, count);
    fuse_reply_none(req);
}

void fs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    for (size_t i = 0; i < count; i++) {
        forget(pt, forgets[i].ino, forgets[i].nlookup);
    }
    fuse_reply_none(req);
}
