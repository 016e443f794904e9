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
 * When the queue was full, or what an event is about cannot be found out, all inodes are
 * invalidated, and all names by a new epoch (FUSE_NOTIFY_INC_EPOCH, Linux 6.16).
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
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "aio/error.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/watch-event.h"
#include "fs/session/kernel-abi.h"

#define BUFFER_BYTES   (64 * 1024)
#define REPEAT_US      10000
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
    _Atomic int error;    /* 0, or why it cannot be watched */
    _Atomic bool numbers; /* handles tell the number of the file */
    FsFileHandle *like;   /* to open others where they do not; under the lock */
} Place;

/* A notification for an inode that the kernel did not know yet. */
typedef struct Repeat {
    uint64_t id;
    off_t offset;
} Repeat;

struct FsWatch {
    FsPassthrough *pt;
    FsSession *session;
    int events_fd;           /* fanotify */
    int kick_fd;             /* eventfd: begin or stop */
    pthread_mutex_t lock;    /* to add or change a place */
    _Atomic(Place *) places; /* only ever grows */
    _Atomic uint64_t sequence;
    _Atomic bool begun, stopping, can_epoch;
    _Atomic uint64_t received, own, notifications, overflows;
    GThread *thread; /* NULL: not started */
    /* the thread's: */
    GHashTable *repeats; /* id -> Repeat */
    bool repeat_all;     /* there were too many to remember */
    gint64 repeat_at;    /* when they are due, in microseconds */
    bool lost;           /* something has changed, and it is not known what */
    char buffer[BUFFER_BYTES] __attribute__((aligned(8)));
};

const char *fs_watch_explain(int error)
{
    switch (error) {
    case EINVAL:
    case ENOSYS:
        return " (it takes Linux 5.9 with fanotify)";
    case EPERM:
        return " (it takes CAP_SYS_ADMIN, and CAP_DAC_READ_SEARCH for some file systems)";
    case EMFILE:
        return " (fs.fanotify.max_user_groups limits how many mounts a user can watch with)";
    case ENOSPC:
        return " (fs.fanotify.max_user_marks limits how many file systems a user can watch)";
    case EOPNOTSUPP:
    case ENODEV:
        return " (it takes file handles and a file system id)";
    case EXDEV:
        return " (not for a subvolume that has an id of its own)";
    default:
        return "";
    }
}

static GHashTable *new_repeats(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
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
                    fs_watch_explain(saved));
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
    watch->repeats = new_repeats();
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
    g_hash_table_destroy(watch->repeats);
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
static int mark(FsWatch *watch, int fd, struct statfs *sfs)
{
    if (fstatfs(fd, sfs) < 0) {
        return -errno;
    }
    FsProcName name = fs_resolve_proc_name(fd);
    int result = fanotify_mark(watch->events_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, WATCHED_EVENTS,
                               watch->pt->resolver.proc_fd, name.text);
    return result < 0 ? -errno : 0;
}

/*
 * Whether handles like @handle, of the file with number @ino, tell the number. Others have handles
 * of the same type and length with something else in it, which may look like it by chance.
 */
static bool tells_number(const struct statfs *sfs, const FsHandleName *handle, uint64_t ino)
{
    uint64_t number;
    switch ((unsigned long)sfs->f_type) {
    case EXT4_SUPER_MAGIC: /* also ext2, ext3 */
    case F2FS_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return fs_handle_number(handle, &number) && number == ino;
    default:
        return false;
    }
}

/* Have what is needed to find the files of @place by their handles. 0 or negative errno. */
static int settle_place_locked(FsWatch *watch, Place *place, int fd, const struct statx *stx,
                               const struct statfs *sfs)
{
    FsMounts *mounts = &watch->pt->inodes.mounts;
    FsHandleName handle;
    int error = fs_file_handle_read(fd, &handle);
    if (error) {
        return error;
    }
    const bool numbers = tells_number(sfs, &handle, stx->stx_ino);
    FsFileHandle *like = NULL;
    if (!numbers) {
        like = fs_file_handle_new(mounts, &handle, fd, stx->stx_mode);
        int opened = like ? fs_file_handle_open(like) : -EOPNOTSUPP;
        if (opened < 0) {
            fs_file_handle_free(mounts, like);
            return opened;
        }
        close(opened);
    }
    fs_file_handle_free(mounts, place->like);
    place->like = like;
    atomic_store(&place->numbers, numbers);
    return 0;
}

/* Mark @place and note how to find its files. 0 or negative errno; then it is as it was. */
static int watch_place_locked(FsWatch *watch, Place *place, int fd, const struct statx *stx)
{
    struct statfs sfs;
    uint64_t fsid;
    static_assert(sizeof(sfs.f_fsid) == sizeof(fsid), "64 bits");
    int error = mark(watch, fd, &sfs);
    if (!error) {
        error = settle_place_locked(watch, place, fd, stx, &sfs);
    }
    if (!error) {
        memcpy(&fsid, &sfs.f_fsid, sizeof(fsid));
        atomic_store(&place->fsid, fsid);
    }
    return error;
}

int fs_watch_place(FsWatch *watch, int fd, const struct statx *stx)
{
    const FsInodeKey key = fs_inode_key_of(stx);
    Place *place = find_place(watch, &key);
    /* both numbers may have been those of another mount before, whose mark has gone with it */
    const bool again = stx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    if (place && !again) {
        return atomic_load(&place->error);
    }
    pthread_mutex_lock(&watch->lock);
    place = find_place(watch, &key);
    const bool known = place;
    if (!known) {
        place = g_new0(Place, 1);
        place->key = key;
    }
    int error = watch_place_locked(watch, place, fd, stx);
    if (error && error != atomic_load(&place->error) && watch->session) {
        g_message("a file system of the source cannot be watched: %s%s; what others change "
                  "there is seen within a second",
                  g_strerror(-error), fs_watch_explain(-error));
    }
    atomic_store(&place->error, error);
    if (!known) {
        place->next = atomic_load_explicit(&watch->places, memory_order_relaxed);
        atomic_store_explicit(&watch->places, place, memory_order_release);
    }
    pthread_mutex_unlock(&watch->lock);
    return error;
}

uint64_t fs_watch_sequence(const FsWatch *watch)
{
    return atomic_load(&watch->sequence);
}

/* --- telling the kernel --- */

static bool has_repeats(const FsWatch *watch)
{
    return watch->repeat_all || g_hash_table_size(watch->repeats) > 0;
}

static void repeat_later(FsWatch *watch, Repeat repeat)
{
    if (!has_repeats(watch)) {
        watch->repeat_at = g_get_monotonic_time() + REPEAT_US;
    }
    const Repeat *same = g_hash_table_lookup(watch->repeats, &repeat.id);
    if (watch->repeat_all || (same && same->offset != NO_PAGES)) {
        return;
    }
    if (same || g_hash_table_size(watch->repeats) < REPEATED_MOST) {
        Repeat *kept = g_new(Repeat, 1);
        *kept = repeat;
        g_hash_table_replace(watch->repeats, &kept->id, kept);
    } else {
        g_hash_table_remove_all(watch->repeats);
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

/*
 * Have the kernel ask for @name again. @expire: it keeps what it has if that is still so (Linux
 * 6.2; before, a directory is lost to those who are in it).
 */
static void drop_name(FsWatch *watch, const FsInode *parent, const char *name, bool expire)
{
    struct fs_fuse_notify_inval_entry_out entry = {
        .parent = fs_inode_id(parent),
        .namelen = (uint32_t)strlen(name),
        .flags = expire ? FS_FUSE_EXPIRE_ONLY : 0,
    };
    const struct iovec body[] = {{&entry, sizeof(entry)}, {(char *)name, entry.namelen + 1}};
    if (fs_session_notify(watch->session, FUSE_NOTIFY_INVAL_ENTRY, body, G_N_ELEMENTS(body)) == 0) {
        fs_count(&watch->notifications);
    }
}

static void drop_all_names(FsWatch *watch)
{
    if (!atomic_load(&watch->can_epoch)) {
        return;
    }
    int error = fs_session_notify(watch->session, FS_FUSE_NOTIFY_INC_EPOCH, NULL, 0);
    if (error < 0 && error != -ECANCELED && !atomic_load(&watch->stopping)) {
        atomic_store(&watch->can_epoch, false);
        g_warning("the kernel does not drop names (%s): what was told of them so far is believed "
                  "until its time is over",
                  g_strerror(-error));
    }
}

/* @offset: from where on the pages are dropped, too; or NO_PAGES. */
static void drop_attributes(FsWatch *watch, const FsInode *inode, off_t offset)
{
    drop_inode(watch, (Repeat){.id = fs_inode_id(inode), .offset = offset});
}

static void drop_all_inodes(FsWatch *watch)
{
    FsSlotTable *slots = &watch->pt->inodes.slots;
    uint32_t end = fs_slots_end(slots);
    for (uint32_t index = 0; index < end && !atomic_load(&watch->stopping); index++) {
        g_autoptr(FsInode) inode = (FsInode *)fs_slots_at(slots, index);
        if (inode) {
            drop_attributes(watch, inode, 0);
        }
    }
}

/* Repeat what is due. It ends with the kernel knowing the inode, or with the inode. */
static void repeat_now(FsWatch *watch)
{
    const gint64 began = g_get_monotonic_time();
    if (!has_repeats(watch) || began < watch->repeat_at) {
        return;
    }
    g_autoptr(GHashTable) due = watch->repeats;
    const bool all = watch->repeat_all;
    watch->repeats = new_repeats();
    watch->repeat_all = false;
    if (all) {
        drop_all_inodes(watch);
    } else {
        GHashTableIter iter;
        gpointer value;
        g_hash_table_iter_init(&iter, due);
        while (g_hash_table_iter_next(&iter, NULL, &value) && !atomic_load(&watch->stopping)) {
            const Repeat *repeat = value;
            g_autoptr(FsInode) inode = fs_inode_get(&watch->pt->inodes, repeat->id);
            if (inode) {
                drop_inode(watch, *repeat);
            }
        }
    }
    const gint64 ended = g_get_monotonic_time();
    watch->repeat_at = ended + MAX(REPEAT_US, ended - began); /* leave time for events */
}

/* How long poll() may wait, in milliseconds; -1: for any time. */
static int wait_ms(const FsWatch *watch)
{
    if (!has_repeats(watch)) {
        return -1;
    }
    const gint64 left = watch->repeat_at - g_get_monotonic_time();
    return left > 0 ? (int)((left + 999) / 1000) : 0;
}

/* --- events --- */

/* The key of @file as it is known through @place. 0, -ESTALE: it has gone, or negative errno. */
static int key_of(FsWatch *watch, const Place *place, const FsWatchFile *file, FsInodeKey *key)
{
    *key = place->key;
    if (atomic_load(&place->numbers)) {
        uint64_t number;
        const bool found = fs_handle_number(&file->handle, &number);
        key->ino = found ? number : 0;
        return found ? 0 : -EIO;
    }
    struct statx stx;
    pthread_mutex_lock(&watch->lock);
    int fd = place->like ? fs_handle_open_name(place->like, &file->handle) : -ESTALE;
    pthread_mutex_unlock(&watch->lock);
    int error = fd < 0 ? fd : statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) < 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    if (!error) {
        key->ino = stx.stx_ino;
    }
    return error == -ENOENT ? -ESTALE : error;
}

/* Something was done to @file, or with @name in it if that is not NULL; by ourselves: @own. */
static void file_changed(FsWatch *watch, const FsWatchFile *file, const char *name, off_t offset,
                         bool own)
{
    Place *place = atomic_load_explicit(&watch->places, memory_order_acquire);
    for (; place; place = place->next) {
        FsInodeFound found = {.fd = -1, .handle = &file->handle};
        if (atomic_load(&place->fsid) != file->fsid) {
            continue;
        }
        int error = key_of(watch, place, file, &found.key);
        if (error) {
            watch->lost |= error != -ESTALE;
            continue;
        }
        g_autoptr(FsInode) inode = fs_inode_find(&watch->pt->inodes, &found);
        if (!inode) {
            continue;
        }
        if (name) {
            drop_name(watch, inode, name, own);
        }
        drop_attributes(watch, inode, offset);
    }
}

/* Whether a file of the file system @fsid may be known twice, by two mounts. */
static bool has_two_places(const FsWatch *watch, uint64_t fsid)
{
    unsigned count = 0;
    const Place *place = atomic_load_explicit(&watch->places, memory_order_acquire);
    for (; place; place = place->next) {
        count += atomic_load(&place->fsid) == fsid;
    }
    return count >= 2;
}

static void handle_event(FsWatch *watch, const FsWatchEvent *event)
{
    fs_count(&watch->received);
    if (event->mask & FAN_Q_OVERFLOW) {
        fs_count(&watch->overflows);
        watch->lost = true;
        return;
    }
    const bool has_name = event->has_dir && event->name;
    const bool has_any = event->has_file || event->has_dir;
    const FsWatchFile *file = event->has_file ? &event->file : &event->dir;
    const bool own = event->pid == getpid();
    if (own && has_any && !has_two_places(watch, file->fsid)) {
        fs_count(&watch->own);
        return;
    }
    atomic_fetch_add(&watch->sequence, 1); /* before anything is looked for */
    if (event->mask & NAMES_CHANGED) {
        watch->lost |= !has_name;
        if (has_name) {
            file_changed(watch, &event->dir, event->name, 0, own);
        }
    }
    if (event->mask & FILE_CHANGED) {
        watch->lost |= !has_any;
        if (has_any) {
            file_changed(watch, file, NULL, event->mask & PAGES_CHANGED ? 0 : NO_PAGES, own);
        }
    }
}

static void drop_everything(FsWatch *watch)
{
    watch->lost = false;
    atomic_fetch_add(&watch->sequence, 1);
    drop_all_names(watch);
    drop_all_inodes(watch);
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
        watch->lost = true;
    }
    if (watch->lost) {
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
        poll(fds, G_N_ELEMENTS(fds), wait_ms(watch));
        uint64_t kicks;
        if (fds[0].revents && read(watch->kick_fd, &kicks, sizeof(kicks)) < 0) {
            g_debug("kicked by nobody");
        }
        repeat_now(watch);
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

bool fs_watch_can_drop_names(const FsWatch *watch)
{
    return atomic_load(&watch->can_epoch);
}

void fs_watch_begin(FsWatch *watch, const FsInitResult *init)
{
    atomic_store(&watch->can_epoch, init->minor >= EPOCH_MINOR);
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
