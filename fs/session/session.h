/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsSession: one FUSE mount and the workers that serve it.
 *
 * libfuse's low-level API decodes requests and encodes answers; reading the
 * device, running the workers and writing the answers are ours (custom I/O).
 *
 * Life: new -> mount -> start -> (ready) -> stop or unmounted by others ->
 * ended -> free. Functions are for the main thread unless they say otherwise.
 */
#ifndef SLUICE_FS_SESSION_SESSION_H
#define SLUICE_FS_SESSION_SESSION_H

#include <sys/uio.h>

#include <glib.h>

#include "aio/context.h"
#include "aio/pool.h"
#include "fs/session/filesystem.h"
#include "fs/session/times.h"

typedef struct FsSession FsSession;

/** How requests come to the workers. */
typedef enum FsTransportChoice {
    FS_TRANSPORT_DEVICE, /**< by /dev/fuse */
    FS_TRANSPORT_URING,  /**< over io_uring; if that cannot be, a word in the log, and the device */
    FS_TRANSPORT_AUTO,   /**< the same without a word */
} FsTransportChoice;

#define FS_SESSION_MOST_WORKERS 256u

typedef struct FsSessionParams {
    const FsFilesystem *filesystem; /**< operations; must outlive the session */
    void *userdata;                 /**< their userdata */
    const char *mountpoint;         /**< a directory, or /dev/fd/N (already mounted) */
    const char *source;             /**< shown as the mount's source (fsname) */
    const char *subtype;            /**< shown as fuse.SUBTYPE; NULL: none */
    const char *mount_options;      /**< comma list for mount(2)/fusermount3; may be NULL */
    /** Workers; 0: max(1, CPUs / 2), or CPUs over io_uring, but FS_SESSION_MOST_WORKERS at most. */
    unsigned threads;
    unsigned helpers;        /**< most helper threads; 0: 16 */
    unsigned max_background; /**< asynchronous requests the kernel may queue; 0: 256 */
    unsigned max_write;      /**< bytes; 0: 1 MiB */
    unsigned max_requests;   /**< requests one worker holds at once; 0: 1024 */
    FsTransportChoice transport;
    unsigned uring_depth;     /**< entries for each queue at the start; 0: 32 */
    unsigned stop_timeout_ms; /**< longest wait for busy files in stop; 0: 10 000 */
    bool debug;               /**< log every request */
    AioContextParams context; /**< of each worker */
    /** INIT has been answered: the mount serves. Main thread. */
    void (*ready)(FsSession *session, void *opaque);
    /**
     * The mount is gone and every worker has stopped taking requests. Main
     * thread. @error: 0 for an unmount or a requested stop, else errno
     * (ECONNABORTED: the connection was aborted). May free the session.
     */
    void (*ended)(FsSession *session, int error, void *opaque);
    void *opaque;
} FsSessionParams;

void fs_session_params_init(FsSessionParams *params);

FsSession *fs_session_new(const FsSessionParams *params, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Mount. May run fusermount3; call it before any thread exists. */
bool fs_session_mount(FsSession *session, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Have INIT ask for @init_flags (FUSE_* bits, flags2 in the upper half), too. Before start. */
void fs_session_want(FsSession *session, uint64_t init_flags);

/** Start the workers. The ready and ended events need the GLib main loop. */
bool fs_session_start(FsSession *session, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Stop in order: unmount lazily, go on serving the files that are still open
 * until the last is closed or stop_timeout_ms have passed, answer what is in
 * flight, then report through ended. Idempotent; nothing before start.
 */
void fs_session_stop(FsSession *session);

/**
 * Stop at once: abort the connection; what is in flight is answered into the
 * void. For a second SIGTERM. Ends with ECONNABORTED. Idempotent.
 */
void fs_session_abort(FsSession *session);

/**
 * Join and free everything. In any phase: a session that has not ended is
 * aborted first. Waits for operations that run on helper threads.
 */
void fs_session_free(FsSession *session);

/** Helper threads for calls that may wait. Any thread. */
AioPool *fs_session_pool(FsSession *session);

/**
 * Helper threads for notifications that wait for pages of the client. Those may wait
 * for requests, and these for work of fs_session_pool(): so they have threads of
 * their own, and nothing else may run there. Any thread.
 */
AioPool *fs_session_notify_pool(FsSession *session);

/**
 * Bracket a notification that waits for the client's kernel, which may wait for our answers
 * meanwhile: until the bracket ends the workers serve, also if the session is aborted. False:
 * it is being aborted, the notification must not be sent, and nothing is to be ended. Any thread.
 */
bool fs_session_begin_notification(FsSession *session) G_GNUC_WARN_UNUSED_RESULT;
void fs_session_end_notification(FsSession *session);

/**
 * Send a notification that libfuse does not know, in such brackets: @code of enum
 * fuse_notify_code with @count (2 at most) pieces of body. 0; -ECANCELED: none may begin any more;
 * or negative errno. Any thread.
 */
int fs_session_notify(FsSession *session, int code, const struct iovec *body, size_t count);

/** libfuse's session, for notifications. Any thread. */
struct fuse_session *fs_session_fuse(FsSession *session);

void *fs_session_userdata(FsSession *session);
unsigned fs_session_max_write(const FsSession *session);

/** st_dev of the mount, 0 while unknown. Any thread. */
dev_t fs_session_device(const FsSession *session);

/** What INIT settled, for logs and `sluicefs check`. Any thread, after ready. */
typedef struct FsInitResult {
    unsigned kernel_minor, minor;
    uint64_t kernel_flags, flags; /**< FUSE_* INIT bits, flags2 in the upper half */
    unsigned max_write, max_readahead, max_background, max_pages;
} FsInitResult;
void fs_session_get_init(FsSession *session, FsInitResult *result);

typedef struct FsSessionStats {
    uint64_t requests;       /**< received */
    uint64_t replies;        /**< sent */
    uint64_t offloaded;      /**< handed to a helper thread */
    uint64_t in_flight;      /**< received and not yet answered */
    uint64_t device_reads;   /**< read(2) calls on the device */
    uint64_t device_eagain;  /**< of them that found nothing */
    uint64_t device_writes;  /**< write calls on the device that were not ring requests */
    uint64_t uring_requests; /**< of the requests, those that came over io_uring */
    AioStats aio;            /**< sum over the workers */
} FsSessionStats;
void fs_session_get_stats(FsSession *session, FsSessionStats *stats);

/**
 * How requests come: FS_TRANSPORT_DEVICE or FS_TRANSPORT_URING. *@reason is set
 * to why they do not come over io_uring although that was asked for, or NULL;
 * free with g_free(). Any thread, after ready.
 */
FsTransportChoice fs_session_get_transport(FsSession *session, char **reason);

/** Workers that serve; 0 before start and after free has begun. */
unsigned fs_session_worker_count(const FsSession *session);

/** The counters of worker @index alone. */
void fs_session_get_worker_stats(FsSession *session, unsigned index, FsSessionStats *stats);

/** Add the times of worker @index to @into, which is the caller's. */
void fs_session_merge_times(FsSession *session, unsigned index, FsTimes *into);

#endif /* SLUICE_FS_SESSION_SESSION_H */
