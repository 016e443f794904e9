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

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "aio/error.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/watch-event.h"
#include "fs/passthrough/watch-place.h"
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

/* A notification for an inode that the kernel did not know yet. */
typedef struct Repeat {
    uint64_t id;
    off_t offset;
} Repeat;

struct FsWatch {
    FsPassthrough *pt;
    FsSession *session;
    int events_fd; /* fanotify */
    int kick_fd;   /* eventfd: begin or stop */
    FsWatchPlaces places;
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
    fs_watch_places_init(&watch->places, events, WATCHED_EVENTS, pt->resolver.proc_fd,
                         &pt->inodes.mounts);
    watch->repeats = new_repeats();
    return watch;
}

void fs_watch_free(FsWatch *watch)
{
    if (!watch) {
        return;
    }
    g_assert(!watch->thread);
    fs_watch_places_destroy(&watch->places);
    close(watch->events_fd);
    close(watch->kick_fd);
    g_hash_table_destroy(watch->repeats);
    g_free(watch);
}

int fs_watch_place(FsWatch *watch, int fd, const struct statx *stx)
{
    bool news;
    int error = fs_watch_places_add(&watch->places, fd, stx, &news);
    if (error && news && watch->session) {
        g_message("a file system of the source cannot be watched: %s%s; what others change "
                  "there is seen within a second",
                  g_strerror(-error), fs_watch_explain(-error));
    }
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

/* Something was done to @file, or with @name in it if that is not NULL; by ourselves: @own. */
static void file_changed(FsWatch *watch, const FsWatchFile *file, const char *name, off_t offset,
                         bool own)
{
    FsWatchPlace *place = NULL;
    while ((place = fs_watch_places_next(&watch->places, place, file->fsid))) {
        FsInodeFound found = {.fd = -1, .handle = &file->handle};
        int error = fs_watch_place_key(&watch->places, place, &file->handle, &found.key);
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
    if (own && has_any && !fs_watch_places_two(&watch->places, file->fsid)) {
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
