/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Watching the source with fanotify.
 *
 * How it works: each file system of the source has a mark, so an event comes for whatever
 * changes on it, with file handles in place of paths. A handle leads to the number of the
 * file, by its bytes or by opening it, and the number to the inode in the table; what the
 * kernel never looked up is not in it and of no interest. Events that this process caused
 * are dropped: the kernel knows of them, because it asked for them.
 *
 * Nothing stale stays behind an invalidation:
 *  - attributes of a file that the kernel knows: it drops an answer to a request that
 *    began before the notification (fuse_inode.attr_version).
 *  - names: FUSE_NOTIFY_INVAL_ENTRY waits for the lock of the directory, which a LOOKUP of an
 *    unknown name and a READDIRPLUS hold until they are answered.
 *  - pages: FUSE_NOTIFY_INVAL_INODE waits for pages that are being read.
 *  - a file that the kernel learns of just now: the notification fails with ENOENT. Either
 *    the inode was not in the table yet when we looked; then who puts it there sees that the
 *    sequence has changed, and tells the kernel to believe nothing. Or it was; then the
 *    answer is on its way, and the notification is repeated until it is known or forgotten.
 *
 * When the queue was full, all inodes are invalidated, and all names by a new epoch
 * (FUSE_NOTIFY_INC_EPOCH, Linux 6.16).
 */
#include "fs/passthrough/watch.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "aio/error.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/watch-event.h"
#include "fs/session/kernel-abi.h"

#define BUFFER_BYTES   (64 * 1024)
#define REPEAT_MS      10
#define REPEATS_MOST   1000
#define REPEATED_MOST  4096
#define EPOCH_MINOR    44
#define NO_PAGES       ((off_t)-1)
#define NAMES_CHANGED  (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO)
#define PAGES_CHANGED  (FAN_MODIFY | FAN_CLOSE_WRITE) /* the latter: at the end of a mapping */
#define FILE_CHANGED   (PAGES_CHANGED | FAN_ATTRIB | FAN_MOVE_SELF)
#define WATCHED_EVENTS (NAMES_CHANGED | FILE_CHANGED | FAN_ONDIR)

/* A mount of a file system that is watched. */
typedef struct Place {
    struct Place *next;
    FsInodeKey key; /* of any file on it */
    _Atomic uint64_t fsid;
    _Atomic int error;  /* 0, or why it cannot be watched */
    FsFileHandle *like; /* to open others; NULL: not possible, or their handles tell all */
} Place;

/* A notification for an inode that the kernel did not know yet. */
typedef struct Repeat {
    uint64_t id;
    off_t offset;
    unsigned count;
} Repeat;

struct FsWatch {
    FsPassthrough *pt;
    FsSession *session;
    int events_fd;           /* fanotify */
    int kick_fd;             /* eventfd: begin or stop */
    pthread_mutex_t lock;    /* to add a place */
    _Atomic(Place *) places; /* only ever grows */
    _Atomic uint64_t sequence;
    _Atomic bool begun, stopping, can_epoch;
    _Atomic uint64_t received, own, notifications, overflows;
    GThread *thread; /* NULL: not started */
    GArray *repeats; /* of Repeat; the thread's */
    bool repeat_all; /* there were too many to remember; the thread's */
    char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
};

/* What an error of fanotify_init() or fanotify_mark() asks for. */
static const char *explain(int error)
{
    switch (error) {
    case EINVAL:
    case ENOSYS:
        return " (it takes Linux 5.9 with fanotify)";
    case EPERM:
        return " (it takes CAP_SYS_ADMIN)";
    case EMFILE:
        return " (fs.fanotify.max_user_groups limits how many mounts a user can watch with)";
    case ENOSPC:
        return " (fs.fanotify.max_user_marks limits how many file systems a user can watch)";
    case EOPNOTSUPP:
    case ENODEV:
    case EXDEV:
        return " (it takes file handles and a file system id)";
    default:
        return "";
    }
}

FsWatch *fs_watch_new(FsPassthrough *pt, GError **error)
{
    int events = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID |
                                   FAN_REPORT_DFID_NAME,
                               O_RDONLY | O_CLOEXEC);
    int kick = events < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kick < 0) {
        int saved = errno;
        g_set_error(error, AIO_ERROR, saved, "cannot watch the source: %s%s", g_strerror(saved),
                    explain(saved));
        if (events >= 0) {
            close(events);
        }
        return NULL;
    }
    FsWatch *watch = g_new0(FsWatch, 1);
    watch->pt = pt;
    watch->events_fd = events;
    watch->kick_fd = kick;
    pthread_mutex_init(&watch->lock, NULL);
    watch->repeats = g_array_new(FALSE, FALSE, sizeof(Repeat));
    return watch;
}

void fs_watch_free(FsWatch *watch)
{
    if (!watch) {
        return;
    }
    g_assert(!watch->thread);
    for (Place *place = atomic_load(&watch->places); place;) {
        Place *next = place->next;
        fs_file_handle_free(&watch->pt->inodes.mounts, place->like);
        g_free(place);
        place = next;
    }
    close(watch->events_fd);
    close(watch->kick_fd);
    pthread_mutex_destroy(&watch->lock);
    g_array_free(watch->repeats, TRUE);
    g_free(watch);
}

/* --- what is watched --- */

static Place *find_place(const FsWatch *watch, const FsInodeKey *key)
{
    Place *place = atomic_load_explicit(&watch->places, memory_order_acquire);
    while (place && (place->key.dev != key->dev || place->key.mount_id != key->mount_id)) {
        place = place->next;
    }
    return place;
}

/* Mark the file system of @fd, once more if it is marked. 0 or negative errno. */
static int mark(FsWatch *watch, int fd, uint64_t *fsid)
{
    struct statfs sfs;
    static_assert(sizeof(sfs.f_fsid) == sizeof(*fsid), "64 bits");
    if (fstatfs(fd, &sfs) < 0) {
        return -errno;
    }
    memcpy(fsid, &sfs.f_fsid, sizeof(*fsid));
    FsProcName name = fs_resolve_proc_name(fd);
    int result = fanotify_mark(watch->events_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, WATCHED_EVENTS,
                               watch->pt->resolver.proc_fd, name.text);
    return result < 0 ? -errno : 0;
}

/* What is needed to find files by handles that do not tell their number. */
static FsFileHandle *find_like(FsWatch *watch, int fd, mode_t type)
{
    FsHandleName handle;
    uint64_t number;
    if (fs_file_handle_read(fd, &handle) < 0 || fs_handle_number(&handle, &number)) {
        return NULL;
    }
    return fs_file_handle_new(&watch->pt->inodes.mounts, &handle, fd, type);
}

bool fs_watch_place(FsWatch *watch, int fd, const struct statx *stx)
{
    const FsInodeKey key = fs_inode_key_of(stx);
    Place *place = find_place(watch, &key);
    /* both numbers may have been those of another mount before, whose mark has gone with it */
    const bool again = stx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    if (place && !again) {
        return atomic_load(&place->error) == 0;
    }
    pthread_mutex_lock(&watch->lock);
    uint64_t fsid = 0;
    int error = mark(watch, fd, &fsid);
    place = find_place(watch, &key);
    if (!place) {
        place = g_new0(Place, 1);
        place->key = key;
        place->like = error ? NULL : find_like(watch, fd, stx->stx_mode);
        place->next = atomic_load_explicit(&watch->places, memory_order_relaxed);
        atomic_store_explicit(&watch->places, place, memory_order_release);
        if (error) {
            g_message("a file system of the source cannot be watched: %s%s; what others change "
                      "there is seen within a second",
                      g_strerror(-error), explain(-error));
        }
    }
    atomic_store(&place->fsid, fsid);
    atomic_store(&place->error, error);
    pthread_mutex_unlock(&watch->lock);
    return error == 0;
}

uint64_t fs_watch_sequence(const FsWatch *watch)
{
    return atomic_load(&watch->sequence);
}

/* --- telling the kernel --- */

static void repeat_later(FsWatch *watch, Repeat repeat)
{
    if (++repeat.count > REPEATS_MOST) {
        return; /* nobody is answering any more */
    }
    if (watch->repeats->len < REPEATED_MOST) {
        g_array_append_val(watch->repeats, repeat);
    } else {
        watch->repeat_all = true;
    }
}

static void drop_inode(FsWatch *watch, Repeat repeat)
{
    if (!fs_session_begin_notification(watch->session)) {
        return; /* the session ends */
    }
    int result = fuse_lowlevel_notify_inval_inode(fs_session_fuse(watch->session), repeat.id,
                                                  repeat.offset, 0);
    fs_session_end_notification(watch->session);
    if (result == -ENOENT) {
        repeat_later(watch, repeat);
    } else if (result == 0) {
        fs_count(&watch->notifications);
    }
}

static void drop_name(FsWatch *watch, const FsInode *parent, const char *name)
{
    if (!fs_session_begin_notification(watch->session)) {
        return;
    }
    int result = fuse_lowlevel_notify_inval_entry(fs_session_fuse(watch->session),
                                                  fs_inode_id(parent), name, strlen(name));
    fs_session_end_notification(watch->session);
    if (result == 0) {
        fs_count(&watch->notifications);
    }
}

static void drop_all_names(FsWatch *watch)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = FS_FUSE_NOTIFY_INC_EPOCH};
    struct iovec iov = {&out, sizeof(out)};
    if (!fs_session_begin_notification(watch->session)) {
        return;
    }
    if (writev(fuse_session_fd(fs_session_fuse(watch->session)), &iov, 1) < 0) {
        g_debug("no new epoch: %s", g_strerror(errno));
    }
    fs_session_end_notification(watch->session);
}

/* @offset: from where on the pages are dropped, too; or NO_PAGES. */
static void drop_attributes(FsWatch *watch, const FsInode *inode, off_t offset)
{
    drop_inode(watch, (Repeat){.id = fs_inode_id(inode), .offset = offset});
}

static void drop_everything(FsWatch *watch)
{
    FsSlotTable *slots = &watch->pt->inodes.slots;
    if (atomic_load(&watch->can_epoch)) {
        drop_all_names(watch);
    }
    uint32_t end = fs_slots_end(slots);
    for (uint32_t index = 0; index < end && !atomic_load(&watch->stopping); index++) {
        g_autoptr(FsInode) inode = (FsInode *)fs_slots_at(slots, index);
        if (inode) {
            drop_attributes(watch, inode, 0);
        }
    }
}

static void repeat_now(FsWatch *watch)
{
    g_autoptr(GArray) due = watch->repeats;
    watch->repeats = g_array_new(FALSE, FALSE, sizeof(Repeat));
    for (unsigned i = 0; i < due->len; i++) {
        const Repeat *repeat = &g_array_index(due, Repeat, i);
        g_autoptr(FsInode) inode = fs_inode_get(&watch->pt->inodes, repeat->id);
        if (inode) {
            drop_inode(watch, *repeat);
        }
    }
    if (watch->repeat_all) {
        watch->repeat_all = false;
        drop_everything(watch);
    }
}

/* --- events --- */

/* The key of @file as it is known through @place. False: it has gone, or cannot be had. */
static bool key_of(const Place *place, const FsWatchFile *file, FsInodeKey *key)
{
    uint64_t number;
    *key = place->key;
    if (fs_handle_number(&file->handle, &number)) {
        key->ino = number;
        return true;
    }
    struct statx stx;
    int fd = place->like ? fs_handle_open_name(place->like, &file->handle) : -EOPNOTSUPP;
    bool found = fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) == 0;
    if (found) {
        key->ino = stx.stx_ino;
    }
    if (fd >= 0) {
        close(fd);
    }
    return found;
}

/* Something was done to @file, or with @name in it if that is not NULL. */
static void file_changed(FsWatch *watch, const FsWatchFile *file, const char *name, off_t offset)
{
    Place *place = atomic_load_explicit(&watch->places, memory_order_acquire);
    for (; place; place = place->next) {
        FsInodeFound found = {.fd = -1, .handle = &file->handle};
        if (atomic_load(&place->error) || atomic_load(&place->fsid) != file->fsid ||
            !key_of(place, file, &found.key)) {
            continue;
        }
        g_autoptr(FsInode) inode = fs_inode_find(&watch->pt->inodes, &found);
        if (!inode) {
            continue;
        }
        if (name) {
            drop_name(watch, inode, name);
        }
        drop_attributes(watch, inode, offset);
    }
}

static void handle_event(FsWatch *watch, const FsWatchEvent *event)
{
    fs_count(&watch->received);
    if (event->mask & FAN_Q_OVERFLOW) {
        atomic_fetch_add(&watch->sequence, 1);
        fs_count(&watch->overflows);
        drop_everything(watch);
        return;
    }
    if (event->pid == getpid()) {
        fs_count(&watch->own);
        return;
    }
    atomic_fetch_add(&watch->sequence, 1); /* before anything is looked for */
    if ((event->mask & NAMES_CHANGED) && event->has_dir && event->name) {
        file_changed(watch, &event->dir, event->name, 0);
    }
    if ((event->mask & FILE_CHANGED) && (event->has_file || event->has_dir)) {
        file_changed(watch, event->has_file ? &event->file : &event->dir, NULL,
                     event->mask & PAGES_CHANGED ? 0 : NO_PAGES);
    }
}

static void read_events(FsWatch *watch)
{
    ssize_t length = read(watch->events_fd, watch->buffer, sizeof(watch->buffer));
    size_t offset = 0;
    FsWatchEvent event;
    int more = length < 0 ? 0 : 1;
    while (more > 0 && !atomic_load(&watch->stopping)) {
        more = fs_watch_event_next(watch->buffer, (size_t)length, &offset, &event);
        if (more > 0) {
            handle_event(watch, &event);
        }
    }
    if (more < 0) {
        g_warning("events of the source cannot be understood; everything is invalidated");
        drop_everything(watch);
    }
}

static gpointer watch_thread(gpointer opaque)
{
    FsWatch *watch = opaque;
    while (!atomic_load(&watch->stopping)) {
        const bool begun = atomic_load(&watch->begun);
        struct pollfd fds[] = {
            {.fd = watch->kick_fd, .events = POLLIN},
            {.fd = begun ? watch->events_fd : -1, .events = POLLIN},
        };
        poll(fds, G_N_ELEMENTS(fds), watch->repeats->len ? REPEAT_MS : -1);
        uint64_t kicks;
        if (fds[0].revents && read(watch->kick_fd, &kicks, sizeof(kicks)) < 0) {
            g_debug("kicked by nobody");
        }
        if (watch->repeats->len) {
            repeat_now(watch);
        }
        if (fds[1].revents) {
            read_events(watch);
        }
    }
    return NULL;
}

/* --- life --- */

static void kick(FsWatch *watch)
{
    const uint64_t one = 1;
    if (write(watch->kick_fd, &one, sizeof(one)) < 0) {
        g_debug("kicked already");
    }
}

void fs_watch_start(FsWatch *watch, FsSession *session)
{
    sigset_t all, before;
    sigfillset(&all);
    watch->session = session;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    watch->thread = g_thread_new("watch", watch_thread, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool fs_watch_can_drop_names(const FsInitResult *init)
{
    return init->minor >= EPOCH_MINOR;
}

void fs_watch_begin(FsWatch *watch, const FsInitResult *init)
{
    atomic_store(&watch->can_epoch, fs_watch_can_drop_names(init));
    atomic_store(&watch->begun, true);
    kick(watch);
}

void fs_watch_stop(FsWatch *watch)
{
    if (watch->thread) {
        atomic_store(&watch->stopping, true);
        kick(watch);
        g_thread_join(g_steal_pointer(&watch->thread));
    }
}

void fs_watch_get_stats(const FsWatch *watch, FsWatchStats *stats)
{
    *stats = (FsWatchStats){
        .events = atomic_load_explicit(&watch->received, memory_order_relaxed),
        .own = atomic_load_explicit(&watch->own, memory_order_relaxed),
        .notifications = atomic_load_explicit(&watch->notifications, memory_order_relaxed),
        .overflows = atomic_load_explicit(&watch->overflows, memory_order_relaxed),
    };
}
