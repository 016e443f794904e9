/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FsRequest: what a file system may do with a request.
 *
 * The life of a request is described in request-internal.h. Answers go through
 * libfuse, which calls back into reply.c with the bytes to send; that is where
 * the thread's current request is looked up.
 */
#include "fs/session/request.h"

#include <assert.h>

#include "aio/trace.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/request-internal.h"
#include "fs/session/session-internal.h"
#include "fs/session/worker.h"

/** READs of so many bytes take a microsecond or two when the data is in memory. */
#define BRIEF_ANSWER ((size_t)16 * 1024)

static _Thread_local FsRequest *current_request;

FsRequest *fs_request_current(void)
{
    return current_request;
}

FsRequest *fs_request_swap_current(FsRequest *request)
{
    FsRequest *previous = current_request;
    current_request = request;
    return previous;
}

fuse_req_t fs_request_fuse(const FsRequest *request)
{
    return request->fuse;
}

FsRequest *fs_request_bind(fuse_req_t fuse)
{
    FsRequest *request = current_request;
    assert(request != NULL);
    request->fuse = fuse;
    return request;
}

FsSession *fs_request_session(const FsRequest *request)
{
    return request->worker->session;
}

uint32_t fs_request_opcode(const FsRequest *request)
{
    return request->opcode;
}

bool fs_request_kills_suidgid(const FsRequest *request)
{
    return request->kills_suidgid;
}

bool fs_request_acl_kills_sgid(const FsRequest *request)
{
    return request->acl_kills_sgid;
}

bool fs_request_supplementary_group(const FsRequest *request, gid_t *group)
{
    *group = request->supplementary_group;
    return request->has_group;
}

AioContext *fs_request_context(const FsRequest *request)
{
    return request->worker->ctx;
}

AioIo *fs_request_io(FsRequest *request)
{
    return &request->io;
}

FsRequest *fs_request_from_io(AioIo *io)
{
    return aio_container_of(io, FsRequest, io);
}

void fs_request_set_data(FsRequest *request, void *data)
{
    request->user_data = data;
}

void *fs_request_get_data(const FsRequest *request)
{
    return request->user_data;
}

void *fs_request_scratch(FsRequest *request)
{
    return request->scratch;
}

const void *fs_request_raw(FsRequest *request, size_t *length)
{
    *length = request->length;
    return request->start;
}

void fs_request_set_open_flags(FsRequest *request, uint32_t fopen_flags)
{
    request->open_flags = fopen_flags;
}

void fs_request_set_backing_id(FsRequest *request, int backing_id)
{
    request->open_flags |= FS_FOPEN_PASSTHROUGH;
    request->backing_id = backing_id;
}

FsRequest *fs_request_enter(FsRequest *request)
{
    if (request != current_request) { /* otherwise this thread is inside already, and holds it */
        atomic_fetch_add_explicit(&request->holds, 1, memory_order_relaxed);
    }
    return fs_request_swap_current(request);
}

void fs_request_leave(FsRequest *previous)
{
    FsRequest *request = fs_request_swap_current(previous);
    assert(request != NULL);
    if (request != previous) {
        fs_request_drop(request);
    }
}

void fs_request_drop(FsRequest *request)
{
    const unsigned holds = atomic_load_explicit(&request->holds, memory_order_acquire);

    assert(holds > 0);
    if (holds == 1) { /* who has the only one need not tell others: nobody could take one now */
        atomic_store_explicit(&request->holds, 0, memory_order_relaxed);
    }
    if (holds == 1 || atomic_fetch_sub_explicit(&request->holds, 1, memory_order_acq_rel) == 1) {
        assert(atomic_load_explicit(&request->state, memory_order_relaxed) != FS_REQUEST_PENDING);
        fs_worker_release(request->worker, request);
    }
}

bool fs_request_moves_data(const FsRequest *request)
{
    return request->opcode == FUSE_READ || request->opcode == FUSE_WRITE;
}

int64_t fs_request_clock(const FsRequest *request)
{
    AioContext *ctx = request->worker->ctx;

    return aio_context_is_home(ctx) ? aio_context_read_clock(ctx) : aio_clock_ns();
}

/**
 * When the answer of @length bytes, which is about to be sent, was ready. Data that the ring has
 * moved is answered in the completion, at the time of that. Other work took its time; but of small
 * READs from memory, which arrived together, several may share a reading.
 */
static int64_t answer_time(const FsRequest *request, size_t length)
{
    AioContext *ctx = request->worker->ctx;

    if (aio_context_is_home(ctx) && fs_request_moves_data(request)) {
        if (!request->in_op) {
            return aio_context_now(ctx);
        }
        if (request->opcode == FUSE_READ && length <= BRIEF_ANSWER) {
            const int64_t now = aio_context_now(ctx);
            if (now > request->received_at) {
                return now;
            }
        }
    }
    return fs_request_clock(request);
}

void fs_request_sent(FsRequest *request, int64_t sent_at)
{
    request->sent_at = sent_at;
    AIO_TRACE2(request_sent, request->unique, request->opcode);
    fs_request_drop(request);
}

void fs_request_mark_answered(FsRequest *request, size_t length)
{
    unsigned was =
        atomic_exchange_explicit(&request->state, FS_REQUEST_ANSWERED, memory_order_acq_rel);
    assert(was == FS_REQUEST_PENDING);
    request->answered_at = answer_time(request, length);
    AIO_TRACE3(request_answer, request->unique, request->opcode, request->error);
    fs_worker_count_answer(request->worker);
}

static void assert_pending(const FsRequest *request)
{
    assert(atomic_load_explicit(&request->state, memory_order_relaxed) == FS_REQUEST_PENDING);
}

void *fs_request_data_buffer(FsRequest *request, size_t size)
{
    assert_pending(request);
    if (size > request->capacity) {
        return NULL;
    }
    request->used = MAX(request->used, size);
    return request->data;
}

void fs_request_reply_data(FsRequest *request, size_t length)
{
    assert_pending(request);
    assert(length <= request->capacity);
    FsRequest *previous = fs_request_enter(request);
    request->deferrable = true;
    fuse_reply_buf(request->fuse, request->data, length);
    fs_request_leave(previous);
}

void fs_request_reply_write(FsRequest *request, size_t length)
{
    assert_pending(request);
    FsRequest *previous = fs_request_enter(request);
    request->deferrable = true;
    fuse_reply_write(request->fuse, length);
    fs_request_leave(previous);
}

void fs_request_reply_error(FsRequest *request, int error)
{
    assert_pending(request);
    FsRequest *previous = fs_request_enter(request);
    request->deferrable = true;
    fuse_reply_err(request->fuse, error);
    fs_request_leave(previous);
}

static void offload_run(AioPoolWork *work)
{
    FsRequest *request = aio_container_of(work, FsRequest, work);
    FsRequest *previous = fs_request_enter(request);
    request->queued = MAX(aio_clock_ns() - request->queued, 1);
    request->offload_fn(request, request->offload_opaque);
    assert(atomic_load_explicit(&request->state, memory_order_relaxed) != FS_REQUEST_PENDING);
    fs_request_leave(previous);
}

void fs_request_offload(FsRequest *request, AioPool *pool, FsOffloadFn *fn, void *opaque)
{
    request->offload_fn = fn;
    request->offload_opaque = opaque;
    request->work = (AioPoolWork){.run = offload_run};
    request->queued = aio_clock_ns();
    AIO_TRACE2(request_offload, request->unique, request->opcode);
    fs_worker_count_offload(request->worker, request);
    aio_pool_submit(pool ? pool : fs_session_pool(fs_request_session(request)), &request->work);
}

void fs_request_park(FsRequest *request)
{
    assert_pending(request);
    fs_worker_uncount(request->worker, request);
}
