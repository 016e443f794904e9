/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The inside of an FsRequest, for fs/session and fs/transport.
 *
 * How it works
 *
 * A request is owned by the worker that received it. Holds keep it alive:
 * one until the answer has been sent (not for requests without an answer),
 * one for each thread that is inside fs_request_enter()/leave() with it; the
 * worker itself is inside while libfuse decodes it. Whoever drops the last
 * hold on the worker's thread recycles the request; on any other thread it
 * pushes the request to the worker's list of returned ones (a stack that the
 * worker takes as a whole, so there is no ABA problem).
 *
 * The fields before "atomic" are written by the worker before the operation
 * runs, and by whoever handles the request afterwards; handing it to another
 * thread goes through the pool's queue, which orders the accesses.
 */
#ifndef SLUICE_FS_SESSION_REQUEST_INTERNAL_H
#define SLUICE_FS_SESSION_REQUEST_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>

#include "aio/ring.h"
#include "fs/session/filesystem.h"
#include "fs/session/request.h"

typedef struct FsTransport FsTransport;
typedef struct FsWorker FsWorker;

/**
 * Opcode of the request that fs_ops_forget_interrupts() invents. Its answer
 * goes nowhere; the INTERRUPTs that libfuse lets go meanwhile are counted in
 * FsRequest.used.
 */
#define FS_REQUEST_NO_OPCODE 0

/** Largest answer (header included) that is copied to travel by the ring. */
#define FS_REQUEST_SMALL_ANSWER 64

typedef enum FsRequestState {
    FS_REQUEST_IDLE,     /**< on a free list, or being filled */
    FS_REQUEST_SILENT,   /**< has no answer (FORGET, INTERRUPT, ...) */
    FS_REQUEST_PENDING,  /**< must be answered */
    FS_REQUEST_ANSWERED, /**< has been */
} FsRequestState;

struct FsRequest {
    FsWorker *worker;
    FsRequest *next;                  /* free or returned list */
    FsRequest *live_next, *live_prev; /* the worker's received ones; worker only */
    fuse_req_t fuse;
    void *user_data;

    /* the request; set by the transport */
    FsTransport *transport;
    void *carrier;   /* the transport's own */
    char *start;     /* of the request: a fuse_in_header */
    char *data;      /* page aligned; where the data of a WRITE lies */
    size_t capacity; /* bytes at data */
    size_t length;   /* bytes received, headers included */
    size_t used;     /* bytes at data that may have been touched */
    uint64_t unique;
    uint64_t nodeid;
    uint32_t opcode; /* as the kernel sent it */
    uint32_t open_flags;
    int backing_id; /* with FS_FOPEN_PASSTHROUGH in open_flags */
    uint32_t statx_flags, statx_mask;
    bool interrupted; /* an INTERRUPT was here before it */
    bool kills_suidgid;
    bool acl_kills_sgid;
    bool has_group; /* supplementary_group was sent */
    gid_t supplementary_group;
    bool deferrable; /* nobody looks at the result of sending */
    bool uncounted;  /* given to a helper thread, or parked; worker only */
    bool in_op;      /* libfuse's decoder is running; worker only */

    /* for FsTimes, in nanoseconds of aio_clock_ns(); 0: did not happen */
    int64_t received_at; /* set by the transport */
    int64_t answered_at, sent_at;
    int64_t queued; /* how long it waited for a helper thread; before that, since when */
    int error;      /* of the answer, positive */

    AioIo io;
    AioPoolWork work;
    FsOffloadFn *offload_fn;
    void *offload_opaque;

    /* the answer on its way through the ring; transport only */
    CqeHandler sending;
    const void *answer;
    size_t answer_length;
    char small_answer[FS_REQUEST_SMALL_ANSWER];

    _Alignas(max_align_t) char scratch[FS_REQUEST_SCRATCH];

    /* atomic */
    _Atomic(unsigned) holds;
    _Atomic(unsigned) state; /* FsRequestState */
};

/** Drop one hold. Any thread. */
void fs_request_drop(FsRequest *request);

/** The transport has sent the answer at @sent_at (aio_clock_ns()), or given up. Any thread. */
void fs_request_sent(FsRequest *request, int64_t sent_at);

/** READ or WRITE. */
bool fs_request_moves_data(const FsRequest *request);

/** The time after work on @request, for its times; read anew. Any thread. */
int64_t fs_request_clock(const FsRequest *request);

/** Run with @request (NULL: none) as the thread's current one, without a hold. */
FsRequest *fs_request_swap_current(FsRequest *request);

/**
 * libfuse has allocated @fuse for the thread's current request: remember it.
 * Called by every operation before the file system's.
 */
FsRequest *fs_request_bind(fuse_req_t fuse);

/** Take note of an answer of @length bytes. Aborts on the second. Any thread. */
void fs_request_mark_answered(FsRequest *request, size_t length);

#endif /* SLUICE_FS_SESSION_REQUEST_INTERNAL_H */
