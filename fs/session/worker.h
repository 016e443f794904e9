/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FsWorker: a thread with an event loop, a transport and the requests it took.
 *
 * How it works
 *
 *   open -> begin -> (serving) -> closed -> drained -> close
 *
 * begin() lets the transport take requests. The transport reports closed when
 * the connection is gone, or the session makes it so with quit(). The worker
 * then interrupts what it still has in flight, and is drained when the last
 * request has come back. Both events are posted to the session.
 *
 * All fields are the worker thread's, except those marked.
 */
#ifndef SLUICE_FS_SESSION_WORKER_H
#define SLUICE_FS_SESSION_WORKER_H

#include <stdatomic.h>

#include "aio/bh.h"
#include "aio/iothread.h"
#include "aio/timer.h"
#include "fs/session/request-internal.h"
#include "fs/session/session.h"
#include "fs/session/times.h"
#include "fs/transport/transport.h"

struct FsWorker {
    FsSession *session; /* constant after open */
    unsigned index;     /* constant */
    AioIoThread *thread;
    AioContext *ctx;        /* constant after open */
    FsTransport *transport; /* the device; constant after open; reply and send from any thread */
    FsTransport *uring;     /* FUSE over io_uring beside it, or NULL; constant after open */
    AioBh *returns_bh;
    AioTimer drain_timer;
    AioTimer idle_timer;
    uint64_t idle_received; /* requests when idle_timer was armed */

    FsRequest *free;
    unsigned free_count;
    FsRequest *live; /* received and not yet recycled, newest first */
    unsigned live_count;
    unsigned uncounted_count; /* of them with a helper thread, or parked */
    bool starved;             /* the transport pauses until resume() */
    bool closed;
    bool drained;
    FsTimes *times; /* written by the worker, read by any thread; constant while it is open */

    /* any thread */
    _Atomic(FsRequest *) returned;
    _Atomic(bool) wants_returns; /* tell by returns_bh when something is returned */
    _Atomic(unsigned) returning; /* threads that may still touch this worker */
    _Atomic(uint64_t) received;  /* written by the worker */
    _Atomic(uint64_t) expected;  /* received that must be answered; by the worker */
    _Atomic(uint64_t) answered;  /* by the worker's own thread */
    _Atomic(uint64_t) answered_elsewhere;
    _Atomic(uint64_t) offloaded;
};

/** What a transport tells its worker; its opaque pointer is the FsWorker. */
extern const FsTransportEvents fs_worker_events;

/** Start the thread and open its transports. Main thread. */
bool fs_worker_open(FsWorker *worker, FsSession *session, unsigned index,
                    GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Let the transport take requests. Any thread; returns before it has begun. */
void fs_worker_begin(FsWorker *worker);

/** Take no more, as if the connection had gone. Any thread; returns at once. */
void fs_worker_quit(FsWorker *worker);

/** Quit, wait until nothing is in flight, release the transport. Main thread. */
void fs_worker_drain(FsWorker *worker);

/** Join the thread and free what is left. Main thread, after drain(). */
void fs_worker_close(FsWorker *worker);

/** The last hold on a request has gone. Any thread. */
void fs_worker_release(FsWorker *worker, FsRequest *request);

void fs_worker_count_answer(FsWorker *worker);

/** @request no longer counts among those that the worker may hold. Home thread. */
void fs_worker_uncount(FsWorker *worker, FsRequest *request);

/** A helper thread gets @request. Any thread. */
void fs_worker_count_offload(FsWorker *worker, FsRequest *request);

/** Requests that must still be answered. Any thread. */
uint64_t fs_worker_in_flight(const FsWorker *worker);

#endif /* SLUICE_FS_SESSION_WORKER_H */
