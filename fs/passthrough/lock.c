/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Locks on the source: GETLK, SETLK, SETLKW, flock().
 *
 * How it works: the kernel of the client names a lock owner (one per file table
 * of a process) with each POSIX lock. On the source an open file description
 * lock belongs to the open file, so each (inode, owner) gets an open file of its
 * own; FLUSH of that owner closes it, which drops its locks. A client's open file
 * description lock comes with an owner, too, one for which no FLUSH will ever come: its
 * open file is closed when the handle goes that it came with. flock() locks
 * belong to the handle, which is one open file on both sides.
 *
 * No thread ever waits for a lock. A request that must wait becomes a waiter:
 * it is tried again when this mount unlocks something on the same inode, and
 * by a timer for the sake of other users of the source. A waiter belongs to
 * the worker of its request: only there it is tried and answered. Other threads
 * (an unlock, an INTERRUPT) schedule it there by a bottom half, which holds a
 * reference, so a waiter that was answered meanwhile is still memory.
 *
 * Lock order: libfuse's request lock (held while it calls interrupted()), then
 * FsLockTable.lock. No reply is sent and no interrupt function is set under the latter.
 */
#include "fs/passthrough/lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/timer.h"
#include "fs/passthrough/operations.h"

#define FIRST_RETRY_NS   (1000 * 1000)
#define LONGEST_RETRY_NS (64 * 1000 * 1000)

typedef struct FsLockOwner {
    uint64_t inode; /* node id: never reused */
    uint64_t owner;
    uint64_t handle; /* it came with first */
    int fd;
    pid_t pid; /* who locked last, for GETLK */
} FsLockOwner;

struct FsLockWaiter {
    _Atomic unsigned references;
    FsPassthrough *pt;
    FsRequest *request;
    FsHandle *handle; /* referenced */
    AioTimer timer;
    int64_t retry_ns;
    bool answered;            /* only the worker looks at it */
    _Atomic bool interrupted; /* by an INTERRUPT, on any worker */
    bool is_flock;
    int flock_operation;
    struct flock lock;
    uint64_t owner;
    GList link; /* in FsLockTable.waiters */
};

static guint owner_hash(gconstpointer key)
{
    const FsLockOwner *owner = key;
    return (guint)((owner->inode * 0x9e3779b97f4a7c15u + owner->owner) >> 16);
}

static gboolean owner_equal(gconstpointer a, gconstpointer b)
{
    const FsLockOwner *x = a, *y = b;
    return x->inode == y->inode && x->owner == y->owner;
}

static void owner_free(gpointer opaque)
{
    FsLockOwner *owner = opaque;
    close(owner->fd);
    g_free(owner);
}

void fs_locks_init(FsLockTable *table)
{
    pthread_mutex_init(&table->lock, NULL);
    table->owners = g_hash_table_new_full(owner_hash, owner_equal, owner_free, NULL);
    g_queue_init(&table->waiters);
}

static void waiter_free(FsLockWaiter *waiter);

void fs_locks_fini(FsLockTable *table)
{
    while (table->waiters.head) {
        FsLockWaiter *waiter = table->waiters.head->data;
        g_queue_unlink(&table->waiters, &waiter->link);
        waiter_free(waiter);
    }
    g_hash_table_destroy(table->owners);
    pthread_mutex_destroy(&table->lock);
}

static FsLockOwner *find_owner_locked(FsLockTable *table, const FsInode *inode, uint64_t owner)
{
    FsLockOwner key = {.inode = fs_inode_id(inode), .owner = owner};
    return g_hash_table_lookup(table->owners, &key);
}

/* An open file for a new owner: for both kinds of lock if possible. */
static int open_for_locking(FsPassthrough *pt, const FsHandle *handle)
{
    int fd = fs_open_inode(pt, handle->inode, O_RDWR, false, NULL);
    if (fd < 0 && (handle->flags & O_ACCMODE) != O_RDWR) {
        fd = fs_open_inode(pt, handle->inode, handle->flags & O_ACCMODE, false, NULL);
    }
    return fd;
}

/* Find the owner or make it. Positive errno in *@error if it cannot be had. */
static FsLockOwner *need_owner_locked(FsPassthrough *pt, FsHandle *handle, uint64_t id, int *error)
{
    FsLockOwner *owner = find_owner_locked(&pt->locks, handle->inode, id);
    if (!owner) {
        int fd = open_for_locking(pt, handle);
        if (fd < 0) {
            *error = -fd;
            return NULL;
        }
        owner = g_new0(FsLockOwner, 1);
        *owner = (FsLockOwner){
            .inode = fs_inode_id(handle->inode),
            .owner = id,
            .handle = fs_handle_id(handle),
            .fd = fd,
        };
        g_hash_table_add(pt->locks.owners, owner);
        atomic_store_explicit(&handle->locks, true, memory_order_relaxed);
    }
    return owner;
}

/* Try a POSIX lock without waiting. 0 or positive errno; EAGAIN: somebody has it. */
static int try_posix(FsPassthrough *pt, FsHandle *handle, uint64_t owner_id,
                     const struct flock *wanted)
{
    FsLockTable *table = &pt->locks;
    int error = 0;
    pthread_mutex_lock(&table->lock);
    FsLockOwner *owner = wanted->l_type == F_UNLCK
                             ? find_owner_locked(table, handle->inode, owner_id)
                             : need_owner_locked(pt, handle, owner_id, &error);
    if (owner) {
        struct flock lock = *wanted;
        lock.l_pid = 0; /* F_OFD_SETLK insists */
        if (fcntl(owner->fd, F_OFD_SETLK, &lock) < 0) {
            error = errno == EACCES ? EAGAIN : errno;
        } else {
            owner->pid = wanted->l_pid;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return error;
}

static int try_flock(const FsHandle *handle, int operation)
{
    return flock(handle->fd, operation | LOCK_NB) < 0 ? errno : 0;
}

static int try_lock(const FsLockWaiter *waiter)
{
    return waiter->is_flock ? try_flock(waiter->handle, waiter->flock_operation)
                            : try_posix(waiter->pt, waiter->handle, waiter->owner, &waiter->lock);
}

/* --- waiting --- */

static void waiter_free(FsLockWaiter *waiter)
{
    fs_handle_put(waiter->handle);
    g_free(waiter);
}

static void waiter_ref(FsLockWaiter *waiter)
{
    atomic_fetch_add_explicit(&waiter->references, 1, memory_order_relaxed);
}

static void waiter_unref(FsLockWaiter *waiter)
{
    if (atomic_fetch_sub_explicit(&waiter->references, 1, memory_order_acq_rel) == 1) {
        FsLockTable *table = &waiter->pt->locks;
        pthread_mutex_lock(&table->lock);
        g_queue_unlink(&table->waiters, &waiter->link);
        pthread_mutex_unlock(&table->lock);
        waiter_free(waiter);
    }
}

/* Whether nobody can take the answer any more, so that waiting must end. */
static bool connection_is_gone(const FsLockWaiter *waiter)
{
    FsSession *session = fs_request_session(waiter->request);
    struct pollfd device = {.fd = fuse_session_fd(fs_session_fuse(session))};
    return poll(&device, 1, 0) > 0 && (device.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* Answer, and drop the reference of the request. Home thread. */
static void waiter_answer(FsLockWaiter *waiter, int error)
{
    FsPassthrough *pt = waiter->pt;
    waiter->answered = true;
    aio_timer_cancel(&waiter->timer);
    /* from here on interrupted() is not called, nor running */
    fuse_req_interrupt_func(fs_request_fuse(waiter->request), NULL, NULL);
    fs_request_reply_error(waiter->request, error);
    if (!error) {
        fs_locks_wake(&pt->locks, waiter->handle->inode); /* it may have been a downgrade */
    }
    waiter_unref(waiter);
}

/* Try again, answer or go on waiting. Home thread. */
static void waiter_retry(FsLockWaiter *waiter)
{
    if (waiter->answered) {
        return;
    }
    if (atomic_load(&waiter->interrupted)) {
        waiter_answer(waiter, EINTR);
        return;
    }
    int error = try_lock(waiter);
    if (error != EAGAIN) {
        waiter_answer(waiter, error);
    } else if (connection_is_gone(waiter)) {
        waiter_answer(waiter, EINTR);
    } else {
        aio_timer_arm_after(&waiter->timer, waiter->retry_ns);
        waiter->retry_ns = MIN(waiter->retry_ns * 2, LONGEST_RETRY_NS);
    }
}

static void waiter_timer(AioTimer *timer)
{
    waiter_retry((FsLockWaiter *)((char *)timer - offsetof(FsLockWaiter, timer)));
}

static void waiter_bh(void *opaque)
{
    FsLockWaiter *waiter = opaque;
    waiter_retry(waiter);
    waiter_unref(waiter);
}

/* Have the waiter's worker look at it. Any thread that can be sure it is alive. */
static void waiter_schedule(FsLockWaiter *waiter)
{
    waiter_ref(waiter);
    aio_bh_call_once(waiter->timer.ctx, waiter_bh, waiter);
}

/* libfuse, on whatever worker reads the INTERRUPT, under the request's lock. */
static void interrupted(fuse_req_t req, void *opaque)
{
    FsLockWaiter *waiter = opaque;
    atomic_store(&waiter->interrupted, true);
    waiter_schedule(waiter);
}

void fs_locks_wake(FsLockTable *table, const FsInode *inode)
{
    pthread_mutex_lock(&table->lock);
    for (GList *link = table->waiters.head; link; link = link->next) {
        FsLockWaiter *waiter = link->data;
        /* one whose last reference has gone is about to leave the list */
        unsigned references = atomic_load(&waiter->references);
        while (waiter->handle->inode == inode && references &&
               !atomic_compare_exchange_weak(&waiter->references, &references, references + 1)) {
        }
        if (waiter->handle->inode == inode && references) {
            aio_bh_call_once(waiter->timer.ctx, waiter_bh, waiter);
        }
    }
    pthread_mutex_unlock(&table->lock);
}

/*
 * Keep the request until the lock can be had. @template: what is wanted; its
 * handle is taken over.
 */
static void wait_for_lock(FsRequest *request, const FsLockWaiter *template)
{
    FsPassthrough *pt = template->pt;
    FsLockWaiter *waiter = g_new(FsLockWaiter, 1);
    *waiter = *template;
    waiter->request = request;
    waiter->retry_ns = FIRST_RETRY_NS;
    waiter->link.data = waiter;
    atomic_init(&waiter->references, 1);
    aio_timer_init(&waiter->timer, fs_request_context(request), waiter_timer);
    fs_count(&fs_passthrough_counters(pt)->lock_waits);

    pthread_mutex_lock(&pt->locks.lock);
    g_queue_push_tail_link(&pt->locks.waiters, &waiter->link);
    pthread_mutex_unlock(&pt->locks.lock);

    fs_request_park(request); /* any number may wait, and the unlock must still be read */
    waiter_ref(waiter);
    fuse_req_interrupt_func(fs_request_fuse(request), interrupted, waiter);
    waiter_retry(waiter); /* an unlock before the waiter was listed has woken nobody */
    waiter_unref(waiter);
}

/* --- operations --- */

static void lock_and_reply(FsRequest *request, FsLockWaiter *wanted, bool may_wait)
{
    int error = try_lock(wanted);
    if (error == EAGAIN && may_wait) {
        wait_for_lock(request, wanted);
        return;
    }
    fs_request_reply_error(request, error);
    if (!error) {
        fs_locks_wake(&wanted->pt->locks, wanted->handle->inode);
    }
    fs_handle_put(wanted->handle);
}

void fs_op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                 int sleep)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    FsLockWaiter wanted = {
        .pt = pt,
        .handle = fs_handle_get(&pt->handles, fi->fh),
        .lock = *lock,
        .owner = fi->lock_owner,
    };
    if (!wanted.handle) {
        fs_request_reply_error(request, EBADF);
        return;
    }
    lock_and_reply(request, &wanted, sleep);
}

void fs_op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsRequest *request = fs_request_current();
    FsLockWaiter wanted = {
        .pt = pt,
        .handle = fs_handle_get(&pt->handles, fi->fh),
        .is_flock = true,
        .flock_operation = operation & ~LOCK_NB,
    };
    if (!wanted.handle) {
        fs_request_reply_error(request, EBADF);
        return;
    }
    lock_and_reply(request, &wanted, !(operation & LOCK_NB));
}

/*
 * The process behind a conflicting lock that an owner of this mount holds
 * (the host tells -1 for those). A lock does not conflict with itself: the one
 * from whose open file the range looks free of it is its holder.
 */
static pid_t holder_locked(FsLockTable *table, const FsInode *inode, uint64_t asking,
                           const struct flock *conflict)
{
    GHashTableIter iter;
    gpointer key;
    pid_t pid = 0;
    g_hash_table_iter_init(&iter, table->owners);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const FsLockOwner *owner = key;
        if (owner->inode != fs_inode_id(inode) || owner->owner == asking) {
            continue;
        }
        struct flock probe = *conflict;
        probe.l_type = F_WRLCK;
        probe.l_pid = 0;
        if (fcntl(owner->fd, F_OFD_GETLK, &probe) == 0 && probe.l_type == F_UNLCK) {
            return owner->pid;
        }
        pid = owner->pid; /* several readers: any of them */
    }
    return pid;
}

void fs_op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    FsPassthrough *pt = fs_passthrough_of(req);
    FsLockTable *table = &pt->locks;
    g_autoptr(FsHandle) handle = fs_handle_get(&pt->handles, fi->fh);
    if (!handle) {
        fuse_reply_err(req, EBADF);
        return;
    }
    struct flock found = *lock;
    found.l_pid = 0;
    pthread_mutex_lock(&table->lock);
    /* the handle's own open file never has POSIX locks: it sees those of everybody */
    FsLockOwner *owner = find_owner_locked(table, handle->inode, fi->lock_owner);
    int error = fcntl(owner ? owner->fd : handle->fd, F_OFD_GETLK, &found) < 0 ? errno : 0;
    if (!error && found.l_type != F_UNLCK && found.l_pid < 0) {
        found.l_pid = holder_locked(table, handle->inode, fi->lock_owner, &found);
    }
    pthread_mutex_unlock(&table->lock);
    if (error) {
        fuse_reply_err(req, error);
    } else {
        fuse_reply_lock(req, &found);
    }
}

void fs_locks_drop_owner(FsLockTable *table, const FsInode *inode, uint64_t owner)
{
    FsLockOwner key = {.inode = fs_inode_id(inode), .owner = owner};
    pthread_mutex_lock(&table->lock);
    bool had = g_hash_table_remove(table->owners, &key);
    pthread_mutex_unlock(&table->lock);
    if (had) {
        fs_locks_wake(table, inode);
    }
}

static gboolean came_with(gpointer key, gpointer value, gpointer opaque)
{
    const FsLockOwner *owner = key;
    const uint64_t *handle = opaque;
    return owner->handle == *handle;
}

/* Every process that had the file open has sent its FLUSH by now: its owner is gone. */
void fs_locks_drop_handle(FsLockTable *table, FsHandle *handle)
{
    if (!atomic_load_explicit(&handle->locks, memory_order_relaxed)) {
        return;
    }
    uint64_t id = fs_handle_id(handle);
    pthread_mutex_lock(&table->lock);
    g_hash_table_foreach_remove(table->owners, came_with, &id);
    pthread_mutex_unlock(&table->lock);
}
