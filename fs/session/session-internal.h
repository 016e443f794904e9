/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The inside of an FsSession, for fs/session. The states are told in session.c. */
#ifndef SLUICE_FS_SESSION_SESSION_INTERNAL_H
#define SLUICE_FS_SESSION_SESSION_INTERNAL_H

#include <stdatomic.h>

#include "aio/buffer.h"
#include "fs/session/session.h"
#include "fs/session/worker.h"
#include "fs/transport/uring-memory.h"

typedef enum FsSessionPhase {
    FS_SESSION_NEW,
    FS_SESSION_MOUNTED,  /* the kernel knows us; nobody reads the device */
    FS_SESSION_SERVING,  /* workers run; INIT may still be ahead */
    FS_SESSION_STOPPING, /* asked to unmount; still serving */
    FS_SESSION_ABORTING, /* cutting the connection */
    FS_SESSION_ENDING,   /* connection gone; answering what is in flight */
    FS_SESSION_ENDED,    /* reported */
} FsSessionPhase;

/** Events from workers and the unmount thread to the main thread. */
typedef enum FsSessionEvent {
    FS_EVENT_READY = 1u << 0,          /* INIT answered */
    FS_EVENT_INIT_FAILED = 1u << 1,    /* INIT answered with an error */
    FS_EVENT_CLOSED = 1u << 2,         /* a worker takes no more */
    FS_EVENT_DRAINED = 1u << 3,        /* a closed worker has nothing in flight */
    FS_EVENT_UNMOUNT_FAILED = 1u << 4, /* the mount could not be detached */
    FS_EVENT_BROKEN = 1u << 5,         /* an answer could not be given */
    FS_EVENT_NOTIFIED = 1u << 6,       /* the last notification has ended, and none will begin */
} FsSessionEvent;

/* In FsSession.notifications, above their number: no more may begin. */
#define FS_NOTIFICATIONS_OVER (1u << 31)

struct FsSession {
    FsSessionParams params; /* constant; its strings are owned here */
    const FsFilesystem *filesystem;
    struct fuse_session *fuse;
    char *mountpoint; /* canonical; NULL for /dev/fd/N */
    bool nosymfollow;
    unsigned max_write;
    uint64_t want_flags;      /* INIT bits asked for besides; constant once started */
    _Atomic(uint64_t) device; /* st_dev of the mount */
    FsWorker *workers;        /* constant while they run */
    unsigned worker_count;
    AioPool *pool;
    AioPool *notify_pool;
    AioBufferDepot *buffers; /* large ones that no worker uses */
    FsUringMemory *uring_memory;

    /* main thread */
    FsSessionPhase phase;
    bool ready_told;
    int error;              /* for ended */
    GMainContext *context;  /* of the main thread */
    GSource *events_source; /* dispatches pending_events */
    GSource *timer;         /* bounds STOPPING, ABORTING and ENDING */
    GThread *detach_threads[2];
    int abort_fd; /* of the connection; the second of these threads closes it */

    /* any thread */
    _Atomic(unsigned) pending_events; /* FsSessionEvent */
    _Atomic(unsigned) begun_workers;
    _Atomic(unsigned) closed_workers;
    _Atomic(unsigned) drained_workers;
    _Atomic(int) close_error;        /* of the first worker that closed */
    _Atomic(unsigned) notifications; /* that wait for the kernel */

    /* transport-choice.c */
    unsigned queue_count;    /* of the kernel; constant after new */
    unsigned *queue_order;   /* how they are dealt out: the same for all workers; constant */
    GMutex transport_lock;   /* guards the reason */
    char *transport_reason;  /* why io_uring is not used; the first one */
    _Atomic(bool) use_uring; /* asked for, and nothing is known against it */

    /* written by the worker that handles INIT, before init_done */
    FsInitResult init;
    _Atomic(bool) init_done;
};

/** Post events to the main thread. Any thread. */
void fs_session_post(FsSession *session, unsigned events);

/** INIT has been answered on the first worker; @error: with this errno. Worker thread. */
void fs_session_init_answered(FsSession *session, int error);

#endif /* SLUICE_FS_SESSION_SESSION_INTERNAL_H */
