/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INTERRUPTs of requests that come by io_uring: see interrupt.h.
 *
 * How it works
 *
 * An INTERRUPT comes by the device, on any worker's descriptor, and its request
 * by the ring of the worker that serves its queue: either may be seen first.
 * libfuse keeps one that came first only until the next request, whosever that
 * is; and the kernel, which may then be asked to send it again, looks for the
 * request among those that were read from the device. So libfuse is not given
 * an INTERRUPT before it knows the request.
 *
 * The kernel (6.18) sends an INTERRUPT only after it has copied the request
 * into an entry, and both that copy and the completion which tells of it are
 * made by the worker's thread inside one system call. So when a bottom half
 * runs on that thread after the INTERRUPT was read, the completion is in the
 * ring, or has been dispatched. A NOP that is submitted then completes behind
 * it, and completions are dispatched in order: when the NOP's turn has come,
 * the worker has the request, its transport holds it back because the worker is
 * full, or it has been answered, and then nobody waits for the INTERRUPT.
 *
 * Which worker it is, nothing tells: each is asked.
 */
#include "fs/session/interrupt.h"

#include "fs/session/kernel-abi.h"
#include "fs/session/session-internal.h"

typedef struct Search {
    CqeHandler fence;
    FsWorker *worker;
    uint64_t unique;
} Search;

void fs_interrupt_deliver(FsWorker *worker, const FsRequest *request)
{
    const struct {
        struct fuse_in_header header;
        struct fuse_interrupt_in interrupt;
    } message = {
        .header = {.len = sizeof(message),
                   .opcode = FUSE_INTERRUPT,
                   .unique = request->unique | FS_FUSE_INTERRUPT_BIT},
        .interrupt = {.unique = request->unique},
    };
    const struct fuse_buf buf = {.mem = (void *)&message, .size = sizeof(message)};

    fuse_session_process_buf(worker->session->fuse, &buf);
}

static void look_for(FsWorker *worker, uint64_t unique)
{
    for (const FsRequest *request = worker->live; request != NULL; request = request->live_next) {
        if (request->unique == unique) {
            if (atomic_load_explicit(&request->state, memory_order_relaxed) == FS_REQUEST_PENDING) {
                fs_interrupt_deliver(worker, request);
            }
            return;
        }
    }
    worker->uring->ops->interrupt(worker->uring, unique);
}

static void fence_passed(CqeHandler *handler)
{
    Search *search = aio_container_of(handler, Search, fence);

    look_for(search->worker, search->unique);
    g_free(search);
}

static void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

static void search_bh(void *opaque)
{
    Search *search = opaque;

    if (search->worker->closed) { /* it has interrupted all that it has */
        g_free(search);
        return;
    }
    search->fence.callback = fence_passed;
    aio_ring_add(aio_context_ring(search->worker->ctx), prepare_nop, NULL, &search->fence);
}

void fs_interrupt_find(FsSession *session, uint64_t unique)
{
    for (unsigned i = 0; i < session->worker_count; i++) {
        Search *search = g_new0(Search, 1);
        search->worker = &session->workers[i];
        search->unique = unique;
        aio_bh_call_once(search->worker->ctx, search_bh, search);
    }
}
