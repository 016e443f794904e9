/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FsSession: see session.h for the life of a session, docs/design/session.md
 * for the whole story.
 *
 * How it works: the main thread owns the phase. Workers and the threads that
 * unmount report by setting bits of pending_events and waking the main
 * context; session_dispatch() looks at the state of things, not at the order
 * of events.
 *
 *   NEW -mount-> MOUNTED -start-> SERVING -stop-> STOPPING --+
 *                                   |  \                     |
 *                                   |   +---- abort -----> ABORTING
 *                                   |                        |
 *                                   +- all workers closed -> ENDING -> ENDED
 *
 * A worker is closed when its device says that the connection is gone. After
 * stop that happens when the last file is closed, because the unmount is lazy;
 * the timer turns a stop that takes too long into an abort. An abort cuts the
 * connection and also tells each worker to quit, in case it cannot be cut.
 * ENDING waits a little for the requests in flight.
 *
 * Unmounting runs on a thread of its own: it makes the kernel write back and
 * release inodes, that is, send requests that the workers must answer, and the
 * main thread must stay able to abort.
 */
#include "fs/session/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs/session/kernel-abi.h"
#include "fs/session/log.h"
#include "fs/session/mount.h"
#include "fs/session/ops.h"
#include "fs/session/session-internal.h"
#include "fs/session/transport-choice.h"
#include "fs/transport/device.h"

#define NOTIFY_THREADS       4
#define NOTIFICATION_STEP_US 1000
#define NOTIFICATION_PIECES  2
/** How long an abort may take until the session is reported as ended anyway. */
#define ABORT_TIMEOUT_MS 3000
/** How long requests in flight are waited for after the connection is gone. */
#define ENDING_TIMEOUT_MS 5000

/* --- events ---------------------------------------------------------------------- */

void fs_session_post(FsSession *session, unsigned events)
{
    atomic_fetch_or(&session->pending_events, events);
    g_source_set_ready_time(session->events_source, 0);
}

static void set_timer(FsSession *session, unsigned ms, GSourceFunc fn)
{
    if (session->timer != NULL) {
        g_source_destroy(session->timer);
        g_clear_pointer(&session->timer, g_source_unref);
    }
    if (fn != NULL) {
        session->timer = g_timeout_source_new(ms);
        g_source_set_callback(session->timer, fn, session, NULL);
        g_source_attach(session->timer, session->context);
    }
}

/** The last act: the session may be freed inside the callback. */
static void session_finish(FsSession *session)
{
    set_timer(session, 0, NULL);
    session->phase = FS_SESSION_ENDED;
    if (session->params.ended != NULL) {
        session->params.ended(session, session->error, session->params.opaque);
    }
}

static gboolean ending_timeout(gpointer opaque)
{
    FsSession *session = opaque;
    FsSessionStats stats;

    fs_session_get_stats(session, &stats);
    g_warning("%" G_GUINT64_FORMAT " requests are still in flight after the mount is gone",
              (guint64)stats.in_flight);
    session_finish(session);
    return G_SOURCE_REMOVE;
}

/** A worker stuck in an operation does not hear of the abort. */
static gboolean abort_timeout(gpointer opaque)
{
    FsSession *session = opaque;

    g_warning("%u of %u workers did not react to the abort",
              session->worker_count - atomic_load(&session->closed_workers), session->worker_count);
    session_finish(session);
    return G_SOURCE_REMOVE;
}

static gboolean stop_timeout(gpointer opaque)
{
    FsSession *session = opaque;

    g_warning("files on '%s' are still open after %u ms: cutting the connection",
              session->params.mountpoint, session->params.stop_timeout_ms);
    g_clear_pointer(&session->timer, g_source_unref);
    fs_session_abort(session);
    return G_SOURCE_REMOVE;
}

/* --- unmounting --------------------------------------------------------------------- */

/**
 * Whether the connection has ended. While it lives, and after an abort, the
 * device number is ours; once the mount is gone, another may have got it.
 */
static bool connection_is_gone(FsSession *session)
{
    return fs_mount_is_gone(fuse_session_fd(session->fuse));
}

static gpointer detach_thread(gpointer opaque)
{
    FsSession *session = opaque;
    int result = fs_mount_detach(session->mountpoint, session->device);

    /* not mounted there: unmounted lazily, moved or covered; files may still be open */
    if (result < 0 && result != -ENOENT) {
        g_warning("cannot unmount '%s': %s", session->mountpoint, g_strerror(-result));
        fs_session_post(session, FS_EVENT_UNMOUNT_FAILED);
    }
    return NULL;
}

static gpointer abort_thread(gpointer opaque)
{
    FsSession *session = opaque;

    fs_mount_abort(session->mountpoint, session->device, session->abort_fd);
    close(session->abort_fd);
    fs_mount_detach(session->mountpoint, session->device);
    return NULL;
}

/** @slot: 0 detach, 1 abort; each once in a session's life. */
static void run_detach(FsSession *session, unsigned slot)
{
    static GThreadFunc const functions[] = {detach_thread, abort_thread};

    if (session->detach_threads[slot] == NULL && session->mountpoint != NULL &&
        session->device != 0 && !connection_is_gone(session)) {
        if (slot == 1) { /* the session's own may be let go meanwhile (drop_connection()) */
            session->abort_fd = fcntl(fuse_session_fd(session->fuse), F_DUPFD_CLOEXEC, 0);
        }
        session->detach_threads[slot] = g_thread_new("unmount", functions[slot], session);
    }
}

static void join_detach_threads(FsSession *session)
{
    for (size_t i = 0; i < G_N_ELEMENTS(session->detach_threads); i++) {
        if (session->detach_threads[i] != NULL) {
            g_thread_join(session->detach_threads[i]);
            session->detach_threads[i] = NULL;
        }
    }
}

/* --- stopping ------------------------------------------------------------------------ */

void fs_session_stop(FsSession *session)
{
    if (session->phase != FS_SESSION_SERVING) {
        return;
    }
    session->phase = FS_SESSION_STOPPING;
    set_timer(session, session->params.stop_timeout_ms, stop_timeout);
    if (session->mountpoint != NULL && session->device != 0) {
        run_detach(session, 0);
    } else {
        /* a descriptor passed to us, and no way to find its mount */
        fs_session_post(session, FS_EVENT_UNMOUNT_FAILED);
    }
}

/* --- notifications ------------------------------------------------------------------- */

void fs_session_end_notification(FsSession *session)
{
    if (atomic_fetch_sub(&session->notifications, 1) == (FS_NOTIFICATIONS_OVER | 1)) {
        fs_session_post(session, FS_EVENT_NOTIFIED);
    }
}

bool fs_session_begin_notification(FsSession *session)
{
    if (atomic_fetch_add(&session->notifications, 1) & FS_NOTIFICATIONS_OVER) {
        fs_session_end_notification(session);
        return false;
    }
    return true;
}

int fs_session_notify(FsSession *session, int code, const struct iovec *body, size_t count)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = code};
    struct iovec iov[1 + NOTIFICATION_PIECES] = {{&out, sizeof(out)}};

    assert(count <= NOTIFICATION_PIECES);
    for (size_t i = 0; i < count; i++) {
        iov[1 + i] = body[i];
        out.len += (uint32_t)body[i].iov_len;
    }
    if (!fs_session_begin_notification(session)) {
        return -ECANCELED;
    }
    ssize_t written = writev(fuse_session_fd(session->fuse), iov, (int)count + 1);
    int error = written < 0 ? -errno : 0;
    fs_session_end_notification(session);
    return error;
}

static bool notifications_under_way(FsSession *session)
{
    return (atomic_load(&session->notifications) & ~FS_NOTIFICATIONS_OVER) != 0;
}

/* --- aborting ---------------------------------------------------------------------------- */

static void quit_workers(FsSession *session)
{
    for (unsigned i = 0; i < session->worker_count; i++) {
        fs_worker_quit(&session->workers[i]);
    }
}

/**
 * Where the connection cannot be cut (no fusectl, and the mount is detached already), a
 * notification that waits for a page comes back only if somebody answers the READ that fills it:
 * so the workers go on until the last one is back.
 */
void fs_session_abort(FsSession *session)
{
    if (session->phase != FS_SESSION_SERVING && session->phase != FS_SESSION_STOPPING) {
        return;
    }
    session->phase = FS_SESSION_ABORTING;
    if (session->error == 0) {
        session->error = ECONNABORTED;
    }
    set_timer(session, ABORT_TIMEOUT_MS, abort_timeout);
    run_detach(session, 1);
    if ((atomic_fetch_or(&session->notifications, FS_NOTIFICATIONS_OVER) &
         ~FS_NOTIFICATIONS_OVER) == 0) {
        quit_workers(session);
    }
}

/** Every worker has closed: the connection is gone, or we gave it up. */
static void connection_ended(FsSession *session)
{
    int error = atomic_load(&session->close_error);

    if (session->phase != FS_SESSION_ABORTING && error != ENODEV) {
        session->error = error;
        /* an aborted connection leaves its mount behind, for users to stumble over */
        if (error == ECONNABORTED && session->mountpoint != NULL && session->device != 0) {
            fs_mount_detach(session->mountpoint, session->device);
        }
    }
    session->phase = FS_SESSION_ENDING;
    set_timer(session, ENDING_TIMEOUT_MS, ending_timeout);
}

static void tell_ready(FsSession *session)
{
    session->ready_told = true;
    if (session->params.ready != NULL) {
        session->params.ready(session, session->params.opaque);
    }
}

static gboolean session_dispatch(GSource *source, GSourceFunc callback, gpointer opaque)
{
    FsSession *session = opaque;

    g_source_set_ready_time(source, -1);
    unsigned events = atomic_exchange(&session->pending_events, 0);

    if ((events & FS_EVENT_READY) && !session->ready_told) {
        tell_ready(session);
    }
    if ((events & FS_EVENT_INIT_FAILED) && session->phase < FS_SESSION_ABORTING) {
        session->error = EPROTO;
        fs_session_abort(session);
    }
    if ((events & FS_EVENT_BROKEN) && session->phase < FS_SESSION_ABORTING) {
        session->error = EIO;
        fs_session_abort(session);
    }
    if ((events & FS_EVENT_UNMOUNT_FAILED) && session->phase == FS_SESSION_STOPPING) {
        fs_session_abort(session);
    }
    if (events & FS_EVENT_NOTIFIED) {
        quit_workers(session);
    }
    if (session->phase >= FS_SESSION_SERVING && session->phase < FS_SESSION_ENDING &&
        atomic_load(&session->closed_workers) >= atomic_load(&session->begun_workers)) {
        connection_ended(session);
    }
    if (session->phase == FS_SESSION_ENDING &&
        atomic_load(&session->drained_workers) >= atomic_load(&session->closed_workers)) {
        session_finish(session);
    }
    return G_SOURCE_CONTINUE;
}

/* --- starting --------------------------------------------------------------------------- */

void fs_session_init_answered(FsSession *session, int error)
{
    if (atomic_load(&session->init_done)) {
        return; /* one INIT too many, and refused */
    }
    if (error == ENOENT || error == ENODEV) {
        return; /* the connection has gone meanwhile: the device will say so */
    }
    if (error != 0) {
        g_warning("the kernel and libfuse cannot agree on a protocol: %s", g_strerror(error));
        fs_session_post(session, FS_EVENT_INIT_FAILED);
        return;
    }
    if (session->init.max_write == 0) {
        return; /* only the version was agreed on: a second INIT follows */
    }
    atomic_store(&session->init_done, true);
    fs_choice_settle(session);
    fs_choice_begin(&session->workers[0]);
    for (unsigned i = 1; i < session->worker_count; i++) {
        fs_worker_begin(&session->workers[i]);
    }
    fs_session_post(session, FS_EVENT_READY);
}

void fs_session_want(FsSession *session, uint64_t init_flags)
{
    assert(session->phase < FS_SESSION_SERVING);
    session->want_flags |= init_flags;
}

static void make_events_source(FsSession *session)
{
    static GSourceFuncs funcs = {.dispatch = session_dispatch};

    session->context = g_main_context_ref_thread_default();
    session->events_source = g_source_new(&funcs, sizeof(GSource));
    g_source_set_name(session->events_source, "FUSE session");
    g_source_set_callback(session->events_source, NULL, session, NULL);
    g_source_attach(session->events_source, session->context);
}

bool fs_session_start(FsSession *session, GError **error)
{
    const unsigned count = session->params.threads;

    if (session->phase >= FS_SESSION_SERVING) {
        return true; /* started already */
    }
    assert(session->phase == FS_SESSION_MOUNTED);
    make_events_source(session);
    session->pool = aio_pool_new("helper", session->params.helpers);
    session->notify_pool = aio_pool_new("notify", NOTIFY_THREADS);
    session->buffers = fs_device_buffers_new(session->max_write);
    session->uring_memory = fs_uring_memory_new(FS_URING_MEMORY_MOST);
    session->workers = g_new0(FsWorker, count);
    for (unsigned i = 0; i < count; i++) {
        if (!fs_worker_open(&session->workers[i], session, i, error)) {
            return false;
        }
        session->worker_count = i + 1;
    }
    session->phase = FS_SESSION_SERVING;
    fs_worker_begin(&session->workers[0]);
    return true;
}

/* --- freeing ------------------------------------------------------------------------------ */

static void free_workers(FsSession *session)
{
    atomic_fetch_or(&session->notifications, FS_NOTIFICATIONS_OVER); /* no new ones */
    while (notifications_under_way(session)) {
        g_usleep(NOTIFICATION_STEP_US); /* the workers serve meanwhile */
    }
    for (unsigned i = 0; i < session->worker_count; i++) {
        fs_worker_drain(&session->workers[i]);
    }
    if (session->worker_count > 0) {
        fs_ops_forget_interrupts(session);
    }
    if (session->filesystem->ending != NULL) {
        session->filesystem->ending(session->params.userdata);
    }
    g_clear_pointer(&session->pool, aio_pool_free);
    g_clear_pointer(&session->notify_pool, aio_pool_free);
    for (unsigned i = 0; i < session->worker_count; i++) {
        fs_worker_close(&session->workers[i]);
    }
    session->worker_count = 0;
    g_clear_pointer(&session->workers, g_free);
    g_clear_pointer(&session->buffers, aio_buffer_depot_free);
    g_clear_pointer(&session->uring_memory, fs_uring_memory_free);
}

/**
 * Let go of the connection, which ends it if it still lives: the clones are
 * closed. libfuse keeps a descriptor that polls as dead, so that it will not
 * unmount by path what may be somebody else's mount by now.
 */
static void drop_connection(FsSession *session)
{
    int fds[2];
    int fd = fuse_session_fd(session->fuse);

    if (fd >= 0 && pipe2(fds, O_CLOEXEC) == 0) {
        close(fds[0]);
        dup3(fds[1], fd, O_CLOEXEC);
        close(fds[1]);
    }
}

void fs_session_free(FsSession *session)
{
    if (session == NULL) {
        return;
    }
    fs_session_abort(session);
    if (session->phase == FS_SESSION_MOUNTED) {
        run_detach(session, 0);
    }
    free_workers(session);
    if (session->fuse != NULL) {
        drop_connection(session);
        join_detach_threads(session);
        fuse_session_unmount(session->fuse);
        fuse_session_destroy(session->fuse);
    }
    set_timer(session, 0, NULL);
    if (session->events_source != NULL) {
        g_source_destroy(session->events_source);
        g_source_unref(session->events_source);
        g_main_context_unref(session->context);
    }
    fs_choice_fini(session);
    g_free(session->mountpoint);
    g_free((char *)session->params.mountpoint);
    g_free((char *)session->params.source);
    g_free((char *)session->params.subtype);
    g_free((char *)session->params.mount_options);
    g_free(session);
}

/* --- queries --------------------------------------------------------------------------------- */

AioPool *fs_session_pool(FsSession *session)
{
    return session->pool;
}

AioPool *fs_session_notify_pool(FsSession *session)
{
    return session->notify_pool;
}

struct fuse_session *fs_session_fuse(FsSession *session)
{
    return session->fuse;
}

void *fs_session_userdata(FsSession *session)
{
    return session->params.userdata;
}

unsigned fs_session_max_write(const FsSession *session)
{
    return session->max_write;
}

dev_t fs_session_device(const FsSession *session)
{
    return atomic_load_explicit(&session->device, memory_order_relaxed);
}

void fs_session_get_init(FsSession *session, FsInitResult *result)
{
    if (atomic_load(&session->init_done)) {
        *result = session->init;
    } else {
        *result = (FsInitResult){0};
    }
}

unsigned fs_session_worker_count(const FsSession *session)
{
    return session->worker_count;
}

static void add_worker_stats(FsWorker *worker, FsSessionStats *stats)
{
    FsTransportStats transport;
    AioStats aio;

    stats->in_flight += fs_worker_in_flight(worker);
    /* what follows from something is read before it: hardly ever ahead of it */
    stats->replies += atomic_load_explicit(&worker->answered, memory_order_acquire) +
                      atomic_load_explicit(&worker->answered_elsewhere, memory_order_acquire);
    stats->requests += atomic_load_explicit(&worker->received, memory_order_acquire);
    stats->offloaded += atomic_load_explicit(&worker->offloaded, memory_order_relaxed);
    worker->transport->ops->get_stats(worker->transport, &transport);
    stats->device_reads += transport.reads;
    stats->device_eagain += transport.eagain;
    stats->device_writes += transport.writes;
    if (worker->uring != NULL) {
        worker->uring->ops->get_stats(worker->uring, &transport);
        stats->uring_requests += transport.fetched;
    }
    aio_context_get_stats(worker->ctx, &aio);
    aio_stats_add(&stats->aio, &aio);
}

void fs_session_get_worker_stats(FsSession *session, unsigned index, FsSessionStats *stats)
{
    g_assert(index < session->worker_count);
    *stats = (FsSessionStats){0};
    add_worker_stats(&session->workers[index], stats);
}

void fs_session_get_stats(FsSession *session, FsSessionStats *stats)
{
    *stats = (FsSessionStats){0};
    for (unsigned i = 0; i < session->worker_count; i++) {
        add_worker_stats(&session->workers[i], stats);
    }
}

void fs_session_merge_times(FsSession *session, unsigned index, FsTimes *into)
{
    g_assert(index < session->worker_count);
    fs_times_merge(into, session->workers[index].times);
}
