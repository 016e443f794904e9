/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Descriptors of inodes: used, closed when there are too many, opened again by name.
 *
 * How it works: the word FsInode.path joins the descriptor and its users. A user adds itself
 * first and looks at the descriptor then, so one that it sees stays until it is gone: only a word
 * without users loses its descriptor, by compare-and-swap. The descriptor in the word changes
 * under the lock only, users come and go without it.
 *
 * Inodes that have a descriptor stand in an array, which a hand goes round: an inode that was used
 * since the hand last came by is passed over once (the CLOCK approximation of least recently used).
 * A directory goes after those that were reached through it, so the way back to them is open when
 * they are closed. In an emergency (a path longer than descriptors are left) it goes before;
 * the name of what stays open below it is then believed, if the file has any name at all.
 *
 * Before a descriptor is closed, the name must lead back to the same file: both exist at that
 * moment, so device, number and mount are enough to tell. Where the name leads elsewhere it is
 * forgotten, and an inode without name keeps its descriptor until it is found again. Then the
 * file's mark is noted (inode-mark.c).
 * After that the number may be used again; but a file that is found under the name later on is the
 * right one only with the same mark. Anything else is ESTALE, never another file.
 *
 * Where the mark is the time of birth, a file must have some age before it is closed. So a
 * burst of new files can take more than the budget: with half as much again in use, who looks one
 * up waits for the youngest to grow old. What one thread has closed others may take first; so who
 * meets EMFILE goes on as long as something can be closed, for some seconds.
 */
#include "fs/passthrough/inode-path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/passthrough/backing.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/resolve.h"

#define USER          (UINT64_C(1) << 32)
#define TRIM_VISITS   64u
#define TRIM_MOST     8u
#define ROOM_MOST     16u
#define WAIT_VISITS   1024u
#define ROOM_WAITS    10u
#define ROOM_WAIT_US  5000
#define ROOM_TRIES    8u
#define ROOM_PATIENCE (5 * G_USEC_PER_SEC)

static int descriptor_in(uint64_t word)
{
    return (int)(uint32_t)word - 1;
}

static uint32_t users_in(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

int fs_inode_descriptor(const FsInode *inode)
{
    return descriptor_in(atomic_load_explicit(&inode->path, memory_order_acquire));
}

void fs_inode_hold(FsInode *inode)
{
    atomic_fetch_add_explicit(&inode->path, USER, memory_order_acquire);
}

void fs_inode_unhold(FsInode *inode)
{
    atomic_fetch_sub_explicit(&inode->path, USER, memory_order_release);
}

void fs_descriptors_init(FsDescriptors *open)
{
    memset(open, 0, sizeof(*open));
    pthread_mutex_init(&open->lock, NULL);
}

void fs_descriptors_fini(FsDescriptors *open)
{
    pthread_mutex_destroy(&open->lock);
    for (unsigned i = 0; i < FS_NAME_SHARDS; i++) {
        g_free(open->names[i].buckets);
    }
    g_free(open->residents);
}

void fs_inodes_limit_descriptors(FsInodeTable *table, FsResolver *resolver, unsigned budget)
{
    table->open.resolver = resolver;
    table->open.budget = budget;
}

/* --- the inodes with a descriptor --- */

/* Without memory it is not in the array and keeps its descriptor. */
static void add_resident_locked(FsInode *inode)
{
    FsDescriptors *open = &inode->table->open;
    if (open->resident_count == open->resident_room) {
        unsigned room = open->resident_room ? open->resident_room * 2 : 64;
        FsInode **larger = g_try_renew(FsInode *, open->residents, room);
        if (!larger) {
            return;
        }
        open->residents = larger;
        open->resident_room = room;
    }
    open->residents[open->resident_count++] = inode;
    inode->resident = open->resident_count;
}

static void remove_resident_locked(FsInode *inode)
{
    FsDescriptors *open = &inode->table->open;
    if (inode->resident) {
        FsInode *last = open->residents[--open->resident_count];
        open->residents[inode->resident - 1] = last;
        last->resident = inode->resident;
        inode->resident = 0;
    }
}

void fs_inode_path_init(FsInode *inode, int fd)
{
    FsDescriptors *open = &inode->table->open;
    atomic_store_explicit(&inode->path, (uint32_t)(fd + 1), memory_order_relaxed);
    atomic_store_explicit(&inode->recent, false, memory_order_relaxed);
    atomic_store_explicit(&inode->name, NULL, memory_order_relaxed);
    inode->changes = 0;
    inode->resident = 0;
    inode->open_children = 0;
    inode->mark = FS_NO_MARK;
    if (open->resolver && fd >= 0) {
        pthread_mutex_lock(&open->lock);
        add_resident_locked(inode);
        pthread_mutex_unlock(&open->lock);
    }
}

int fs_inode_path_fini(FsInode *inode, FsInode **parent)
{
    FsDescriptors *open = &inode->table->open;
    FsInodeName *dropped = NULL;
    pthread_mutex_lock(&open->lock);
    remove_resident_locked(inode);
    fs_inode_drop_name_locked(inode, &dropped);
    uint64_t word = atomic_exchange(&inode->path, 0);
    pthread_mutex_unlock(&open->lock);
    *parent = dropped ? dropped->parent : NULL;
    free(dropped);
    return descriptor_in(word);
}

/* The descriptor comes or goes. */
static void count_open_locked(const FsInode *inode, bool comes)
{
    const FsInodeName *name = atomic_load_explicit(&inode->name, memory_order_relaxed);
    if (name && comes) {
        name->parent->open_children++;
    } else if (name) {
        name->parent->open_children--;
    }
}

bool fs_inode_reopened(FsInode *inode, int fd)
{
    FsDescriptors *open = &inode->table->open;
    pthread_mutex_lock(&open->lock);
    bool taken = fs_inode_descriptor(inode) < 0;
    if (taken) {
        atomic_fetch_add(&inode->path, (uint32_t)(fd + 1));
        atomic_fetch_add(&inode->table->descriptors, 1);
        count_open_locked(inode, true);
        if (open->resolver) {
            add_resident_locked(inode);
        }
    }
    pthread_mutex_unlock(&open->lock);
    if (taken) {
        atomic_fetch_add_explicit(&open->reopened, 1, memory_order_relaxed);
    }
    return taken;
}

bool fs_inode_is_marked(FsInode *inode, uint64_t mark)
{
    FsDescriptors *open = &inode->table->open;
    pthread_mutex_lock(&open->lock);
    bool same = fs_inode_descriptor(inode) >= 0 || (mark != FS_NO_MARK && inode->mark == mark);
    pthread_mutex_unlock(&open->lock);
    return same;
}

/* --- use --- */

FsInode *fs_inode_take_locked(FsInode *inode)
{
    fs_inode_hold(inode);
    return fs_inode_ref(inode);
}

void fs_inode_give_back(FsInode *inode)
{
    if (inode) {
        fs_inode_unhold(inode);
        fs_inode_put(inode);
    }
}

static FsPathFd open_path(FsInode *inode)
{
    FsPathFd path = {.opened = inode->handle != NULL};
    FsRoom room = {0};
    do {
        path.fd = path.opened ? fs_file_handle_open(inode->handle) : fs_inode_reopen(inode);
    } while (path.opened && fs_inodes_room_made(inode->table, path.fd, &room));
    if (path.fd >= 0 && !path.opened) {
        path.held = inode;
        atomic_store_explicit(&inode->recent, true, memory_order_relaxed);
    } else {
        fs_inode_unhold(inode);
    }
    return path;
}

FsPathFd fs_inode_path(const FsInode *inode)
{
    FsInode *held = (FsInode *)inode; /* the descriptor is not what the caller may not change */
    uint64_t word = atomic_fetch_add_explicit(&held->path, USER, memory_order_acquire);
    if (descriptor_in(word) < 0) {
        return open_path(held);
    }
    if (!atomic_load_explicit(&held->recent, memory_order_relaxed)) {
        atomic_store_explicit(&held->recent, true, memory_order_relaxed);
    }
    return (FsPathFd){.fd = descriptor_in(word), .held = held};
}

void fs_path_fd_clear(FsPathFd *path)
{
    if (path->held) {
        fs_inode_unhold(path->held);
    } else if (path->opened && path->fd >= 0) {
        close(path->fd);
    }
}

/* --- closing --- */

/* Whether @name in @directory is the file with @key. Sends no request to our own mount. */
static bool leads_to(int directory, const char *name, const FsInodeKey *key)
{
    struct statx stx;
    const int how = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    if (statx(directory, name, how, STATX_INO | STATX_MNT_ID, &stx) < 0 ||
        !(stx.stx_mask & STATX_INO)) {
        return false;
    }
    FsInodeKey found = fs_inode_key_of(&stx);
    return fs_inode_key_equal(&found, key);
}

/* Whether the open file has a name at all. */
static bool has_links(int fd)
{
    struct statx stx;
    return statx(fd, "", AT_EMPTY_PATH, STATX_NLINK, &stx) == 0 && stx.stx_nlink > 0;
}

/* The name leads elsewhere: forget it, unless it is a new one. */
static void forget_name(FsInode *inode, uint32_t changes)
{
    FsDescriptors *open = &inode->table->open;
    FsInodeName *dropped = NULL;
    pthread_mutex_lock(&open->lock);
    if (inode->changes == changes) {
        fs_inode_drop_name_locked(inode, &dropped);
    }
    pthread_mutex_unlock(&open->lock);
    fs_inode_names_free(dropped);
}

/* Put an end to the descriptor unless somebody else uses it or the name has changed. */
static bool close_if_unused(FsInode *inode, uint32_t changes, uint64_t mark, bool with_children)
{
    FsDescriptors *open = &inode->table->open;
    pthread_mutex_lock(&open->lock);
    uint64_t word = atomic_load_explicit(&inode->path, memory_order_relaxed);
    bool closed = users_in(word) == 1 && descriptor_in(word) >= 0 && inode->changes == changes &&
                  (with_children || inode->open_children == 0) &&
                  atomic_compare_exchange_strong(&inode->path, &word, USER);
    if (closed) {
        inode->mark = mark;
        inode->changes++;
        count_open_locked(inode, false);
        remove_resident_locked(inode);
    }
    pthread_mutex_unlock(&open->lock);
    if (closed) {
        close(descriptor_in(word));
        atomic_fetch_sub(&inode->table->descriptors, 1);
        atomic_fetch_add_explicit(&open->closed, 1, memory_order_relaxed);
    }
    return closed;
}

static void warn_unmarked(FsDescriptors *open, FsBacking *backing)
{
    if (atomic_load_explicit(&backing->no_marks, memory_order_relaxed) &&
        !atomic_exchange(&open->warned, true)) {
        g_message("a file system of the source has neither file handles nor birth times: each "
                  "of its files that the kernel knows costs a descriptor (ulimit -n)");
    }
}

/* How to look for descriptors to close. */
typedef struct Search {
    unsigned most;   /* to close */
    unsigned visits; /* left */
    bool emergency;  /* also directories in which others are open, and what was opened in them */
    bool young;      /* some were too young */
    unsigned tried;  /* those that were looked at closely */
} Search;

/* Close the descriptor of @inode, of which the caller has a reference, if that is safe. */
static bool close_resident(FsInode *inode, Search *search)
{
    FsDescriptors *open = &inode->table->open;
    char text[NAME_MAX + 1];
    FsInode *parent = NULL;
    uint32_t changes = 0;
    uint64_t mark = FS_NO_MARK;
    bool closed = false, known = false, young = false;

    fs_inode_hold(inode);
    pthread_mutex_lock(&open->lock);
    const FsInodeName *name = atomic_load_explicit(&inode->name, memory_order_relaxed);
    if (name && fs_inode_descriptor(inode) >= 0) {
        parent = fs_inode_take_locked(name->parent);
        changes = inode->changes;
        g_strlcpy(text, name->text, sizeof(text));
    }
    pthread_mutex_unlock(&open->lock);
    if (parent) {
        int own = fs_inode_descriptor(parent), at = own;
        bool by_handle = own < 0 && parent->handle;
        if (by_handle) {
            at = fs_file_handle_open(parent->handle);
        }
        const int fd = fs_inode_descriptor(inode);
        known = at >= 0 ? leads_to(at, text, &inode->key) : search->emergency && has_links(fd);
        if (known) {
            mark = fs_inode_mark_of(inode->backing, fd, &young);
        } else if (at >= 0) {
            forget_name(inode, changes);
        }
        if (by_handle && at >= 0) {
            close(at);
        }
        fs_inode_give_back(parent);
    }
    if (known && mark == FS_NO_MARK) {
        warn_unmarked(open, inode->backing);
    } else if (known && !young) {
        closed = close_if_unused(inode, changes, mark, search->emergency);
    }
    search->young |= young;
    fs_inode_unhold(inode);
    return closed;
}

static bool is_candidate_locked(const FsInode *inode, const Search *search)
{
    return users_in(atomic_load_explicit(&inode->path, memory_order_relaxed)) == 0 &&
           (search->emergency || inode->open_children == 0) &&
           atomic_load_explicit(&inode->name, memory_order_relaxed) && inode->backing &&
           !atomic_load_explicit(&inode->backing->no_marks, memory_order_relaxed);
}

/*
 * The next inode whose descriptor might be closed, referenced. The hand goes down: from what was
 * opened last to the directories through which it was reached. NULL: none in so many visits.
 */
static FsInode *next_candidate(FsDescriptors *open, Search *search)
{
    FsInode *found = NULL;
    pthread_mutex_lock(&open->lock);
    while (!found && search->visits > 0 && open->resident_count > 0) {
        search->visits--;
        if (open->hand == 0 || open->hand > open->resident_count) {
            open->hand = open->resident_count;
        }
        FsInode *inode = open->residents[--open->hand];
        if (is_candidate_locked(inode, search) &&
            !atomic_exchange_explicit(&inode->recent, false, memory_order_relaxed) &&
            fs_slot_try_ref(&inode->slot)) {
            found = inode;
        }
    }
    pthread_mutex_unlock(&open->lock);
    return found;
}

/* Returns how many were closed. */
static unsigned close_some(FsDescriptors *open, Search *search)
{
    unsigned closed = 0;
    FsInode *inode;
    while (closed < search->most && (inode = next_candidate(open, search))) {
        search->tried++;
        atomic_fetch_add(&open->tried, 1);
        atomic_fetch_add(&open->closing, 1);
        closed += close_resident(inode, search);
        atomic_fetch_sub(&open->closing, 1);
        fs_inode_put(inode);
    }
    return closed;
}

/* Files too young to be closed have taken half as much again: let time pass before more come. */
static void wait_for_age(FsInodeTable *table)
{
    FsDescriptors *open = &table->open;
    const unsigned most = open->budget + open->budget / 2;
    for (unsigned i = 0; i < ROOM_WAITS && fs_inode_descriptors(table) > most; i++) {
        Search search = {.most = TRIM_MOST, .visits = WAIT_VISITS};
        if (close_some(open, &search) > 0 || !search.young) {
            return;
        }
        g_usleep(ROOM_WAIT_US);
    }
}

void fs_inodes_trim(FsInodeTable *table)
{
    FsDescriptors *open = &table->open;
    uint32_t descriptors = fs_inode_descriptors(table);
    if (!open->resolver || descriptors <= open->budget) {
        return;
    }
    const bool first = !atomic_exchange(&open->trimming, true);
    /* the one who does it for all may not get on: a processor is not always there */
    if (first || descriptors > open->budget + open->budget / 4) {
        Search search = {.most = MIN(descriptors - open->budget, TRIM_MOST), .visits = TRIM_VISITS};
        close_some(open, &search);
    }
    if (first) {
        atomic_store(&open->trimming, false);
    }
    wait_for_age(table);
}

/*
 * Look at everything twice, since what was used lately is passed over once. *@later: it is worth
 * another look, as some are too young, or others were looking at them at the same time.
 */
static unsigned close_any(FsDescriptors *open, bool emergency, bool *later)
{
    Search search = {.most = ROOM_MOST, .emergency = emergency};
    const bool others = atomic_load(&open->closing) > 0;
    const uint64_t tried = atomic_load(&open->tried);
    pthread_mutex_lock(&open->lock);
    search.visits = 2 * open->resident_count;
    pthread_mutex_unlock(&open->lock);
    unsigned closed = close_some(open, &search);
    *later |= search.young || others || atomic_load(&open->tried) != tried + search.tried;
    return closed;
}

bool fs_inodes_make_room(FsInodeTable *table)
{
    FsDescriptors *open = &table->open;
    if (!open->resolver) {
        return false;
    }
    const uint64_t before = atomic_load(&open->closed);
    bool later = true;
    for (unsigned i = 0; later && i < ROOM_WAITS; i++) {
        if (i > 0) {
            g_usleep(ROOM_WAIT_US);
        }
        later = false;
        if (close_any(open, false, &later) > 0 || close_any(open, true, &later) > 0) {
            return true;
        }
        if (atomic_load(&open->closed) != before) {
            return true;
        }
    }
    return false;
}

bool fs_inodes_room_made(FsInodeTable *table, int result, FsRoom *room)
{
    if (result != -ENFILE) {
        return false;
    }
    const int64_t now = g_get_monotonic_time();
    if (room->tries++ == 0) {
        room->until = now + ROOM_PATIENCE;
    }
    if (room->tries > ROOM_TRIES && now >= room->until) {
        return false;
    }
    /* once more in any case: others may have made room since the caller tried */
    return fs_inodes_make_room(table) || room->tries == 1;
}
