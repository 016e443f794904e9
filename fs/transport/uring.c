/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FUSE over io_uring: requests are completions, answers are submissions.
 *
 * How it works (docs/design/transport-uring.md has the whole story)
 *
 * An entry (uring-entry.c) brings a request by its completion and takes the
 * answer back as a submission.
 *
 * Another thread that answers fills the buffer, pushes the entry to "answered"
 * and schedules a bottom half. It does so before it lets go of its request,
 * which keeps the worker, and so this transport, alive.
 *
 * Requests that wait for a lock must not keep out the unlock: a request that a
 * helper has does not count for its queue's depth, and a queue that stands
 * still (uring-still.c) gets one more entry and a nudge.
 */
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "aio/batch.h"
#include "aio/error.h"
#include "fs/session/request-internal.h"
#include "fs/transport/nudge.h"
#include "fs/transport/uring-internal.h"

/** When giving memory back has to wait for completions, for how long. */
#define TRIM_AGAIN_NS (INT64_C(10) * 1000 * 1000)

static FsUring *uring_of(FsTransport *transport)
{
    return aio_container_of(transport, FsUring, base);
}

/** A request that a helper has may wait long: its queue gets another entry instead. */
static void uring_offloaded(FsTransport *transport, FsRequest *request)
{
    FsUring *uring = uring_of(transport);
    FsUringEntry *entry = request->carrier;
    FsUringQueue *queue = entry->queue;

    if (!entry->offloaded && !fs_uring_is_stopped(uring)) {
        entry->offloaded = true;
        queue->offloaded++;
        if (queue->entries - queue->offloaded < uring->depth) {
            (void)fs_uring_add_entry(uring, queue); /* no memory: the tick tries again if need be */
            fs_uring_watch(uring, queue);
        }
    }
}

/* --- receiving -------------------------------------------------------------------- */

/** What the kernel says about lengths, which nobody should have to trust. */
static bool lengths_are_sane(const FsUringEntry *entry, const struct fuse_in_header *in)
{
    const struct fs_fuse_uring_header *header = entry->header;

    return header->payload_size <= entry->uring->payload_size &&
           in->len >= sizeof(*in) + header->payload_size &&
           in->len - sizeof(*in) - header->payload_size <= sizeof(header->op_in);
}

/** Bytes of the payload that the request brought, or will have when it is answered. */
static size_t payload_used(const FsUringEntry *entry, const struct fuse_in_header *in)
{
    const struct fs_fuse_uring_header *header = entry->header;
    struct fuse_read_in read;

    if (in->opcode != FUSE_READ) {
        return header->payload_size;
    }
    memcpy(&read, header->op_in, sizeof(read));
    return MIN(read.size, entry->uring->payload_size);
}

static void entry_received(FsUringEntry *entry, FsRequest *request, int64_t received_at)
{
    FsUring *uring = entry->uring;
    const struct fs_fuse_uring_header *header = entry->header;
    struct fuse_in_header in;

    memcpy(&in, header->in_out, sizeof(in));
    const size_t operation = in.len - sizeof(in) - header->payload_size;
    char *start = entry->payload - operation - sizeof(in);

    memcpy(start, &in, sizeof(in));
    memcpy(start + sizeof(in), header->op_in, operation);
    fs_uring_touch(entry, payload_used(entry, &in));

    request->transport = &uring->base;
    request->carrier = entry;
    request->start = start;
    request->data = entry->payload;
    request->capacity = uring->payload_size;
    request->length = in.len;
    request->received_at = received_at;
    request->interrupted = entry->interrupted;
    entry->interrupted = false;
    aio_counter_add(&uring->fetched, 1);
    uring->params.events->received(request, uring->params.opaque);
}

static void answer_without_body(FsUringEntry *entry, uint64_t unique, int error)
{
    const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};

    memcpy(entry->header->in_out, &out, sizeof(out));
    entry->header->payload_size = 0;
    fs_uring_commit(entry);
}

static void wait_for_room(FsUringEntry *entry)
{
    FsUring *uring = entry->uring;

    entry->next_held = NULL;
    *uring->waiting_tail = entry;
    uring->waiting_tail = &entry->next_held;
}

static void turn_over(void *opaque)
{
    FsUring *uring = opaque;

    const bool behind = fs_placement_turn(&uring->placement, uring->turn_requests, uring->turn_at);
    uring->turn_requests = 0;
    if (behind) {
        /* not by the call that waits: who is answered interrupts, and asks again before that */
        (void)aio_ring_submit(uring->ring);
    }
}

static void entry_filled(FsUringEntry *entry)
{
    FsUring *uring = entry->uring;
    struct fuse_in_header in;

    entry->state = FS_URING_WITH_REQUEST;
    entry->registered = true;
    entry->commit_id = entry->header->commit_id;
    memcpy(&in, entry->header->in_out, sizeof(in));
    entry->nodeid = in.nodeid;
    if (in.opcode == FUSE_READ || in.opcode == FUSE_WRITE) {
        uring->file_nodeid = in.nodeid;
    }
    if (!lengths_are_sane(entry, &in)) {
        g_critical("the kernel sent a broken request of %u bytes through io_uring", in.len);
        answer_without_body(entry, in.unique, EIO);
        return;
    }
    if (fs_nudge_is(&in)) {
        answer_without_body(entry, in.unique, 0);
        return;
    }
    FsRequest *request =
        uring->waiting == NULL ? uring->params.events->take(uring->params.opaque) : NULL;
    if (request == NULL) {
        wait_for_room(entry);
    } else {
        entry_received(entry, request, uring->turn_at);
    }
}

static void entry_failed(FsUringEntry *entry, int result)
{
    FsUring *uring = entry->uring;

    entry->state = FS_URING_DEAD;
    if (entry->queue != NULL) {
        entry->queue->entries--;
    }
    if (fs_uring_is_end(result) || fs_uring_is_stopped(uring)) {
        return;
    }
    if (entry->registered) {
        if (!uring->was_broken) {
            uring->was_broken = true;
            uring->params.broken(-result, uring->params.opaque);
        }
    } else if (!uring->refused) {
        uring->refused = true;
        uring->params.refused(entry->queue != NULL ? -result : ENOMEM, uring->params.opaque);
    }
}

static void entry_done(CqeHandler *handler)
{
    FsUringEntry *entry = aio_container_of(handler, FsUringEntry, fetch);
    FsUring *uring = entry->uring;

    if (entry->queue != NULL) {
        fs_stall_filled(&entry->queue->stall, entry->commit_number);
        fs_uring_take_back(entry);
    }
    if (handler->res < 0) {
        entry_failed(entry, handler->res);
    } else if (fs_uring_is_stopped(uring)) {
        entry->state = FS_URING_DEAD; /* a request that came too late */
    } else {
        if (uring->turn_requests++ == 0) {
            uring->turn_at = aio_context_now(uring->ctx);
            aio_batch_defer(uring->ctx, turn_over, uring);
        }
        fs_uring_watch(uring, entry->queue);
        entry_filled(entry);
    }
}

static void uring_resume(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    while (uring->waiting != NULL && !fs_uring_is_stopped(uring)) {
        FsRequest *request = uring->params.events->take(uring->params.opaque);
        if (request == NULL) {
            return;
        }
        FsUringEntry *entry = uring->waiting;
        uring->waiting = entry->next_held;
        if (uring->waiting == NULL) {
            uring->waiting_tail = &uring->waiting;
        }
        entry_received(entry, request, aio_context_now(uring->ctx));
    }
}

static void uring_interrupt(FsTransport *transport, uint64_t unique)
{
    for (FsUringEntry *entry = uring_of(transport)->waiting; entry != NULL;
         entry = entry->next_held) {
        const struct fuse_in_header *in = (const void *)entry->header->in_out;
        entry->interrupted = entry->interrupted || in->unique == unique;
    }
}

/* --- answering --------------------------------------------------------------------- */

static void answered_bh(void *opaque)
{
    FsUring *uring = opaque;
    FsUringEntry *entry = atomic_exchange_explicit(&uring->answered, NULL, memory_order_acquire);

    while (entry != NULL) {
        FsUringEntry *next = entry->next_held;
        fs_uring_commit(entry);
        entry = next;
    }
}

/** Commit @entry, whose buffer holds the answer. Any thread that holds its request. */
static void commit_from_anywhere(FsUringEntry *entry)
{
    FsUring *uring = entry->uring;

    if (aio_context_is_home(uring->ctx)) {
        fs_uring_commit(entry);
        return;
    }
    entry->next_held = atomic_load_explicit(&uring->answered, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&uring->answered, &entry->next_held, entry,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    aio_bh_schedule(uring->answered_bh);
}

/** Put the answer's body into the payload. False: it does not fit. */
static bool fill_payload(FsUringEntry *entry, const struct iovec *iov, int count)
{
    const size_t capacity = entry->uring->payload_size;
    size_t length = 0;

    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > capacity - length) {
            return false;
        }
        /* the data of a READ lies there already */
        if (iov[i].iov_base != entry->payload + length) {
            memmove(entry->payload + length, iov[i].iov_base, iov[i].iov_len);
        }
        length += iov[i].iov_len;
    }
    entry->header->payload_size = (uint32_t)length;
    fs_uring_touch(entry, length);
    return true;
}

static int uring_reply(FsTransport *transport, FsRequest *request, struct iovec *iov, int count)
{
    FsUring *uring = uring_of(transport);
    FsUringEntry *entry = request->carrier;
    struct fuse_out_header out;

    memcpy(&out, iov[0].iov_base, sizeof(out));
    fs_uring_touch(entry, request->used);
    if (!fill_payload(entry, iov + 1, count - 1)) {
        g_warning("the answer to request %" G_GUINT64_FORMAT " (opcode %u) is too long: %u bytes",
                  (guint64)request->unique, request->opcode, out.len);
        out.error = -EIO;
        out.len = sizeof(out);
        entry->header->payload_size = 0;
    }
    memcpy(entry->header->in_out, &out, sizeof(out));

    const bool gone = fs_uring_is_stopped(uring);
    const int64_t sent_at = request->answered_at;
    request->carrier = NULL;
    request->data = NULL;
    commit_from_anywhere(entry);
    fs_request_sent(request, sent_at);
    return gone ? -ENOENT : 0;
}

/** Messages that answer no request leave by the device. */
static int uring_send(FsTransport *transport, const struct iovec *iov, int count)
{
    return -ENOENT;
}

static void uring_recycle(FsTransport *transport, FsRequest *request)
{
    FsUringEntry *entry = request->carrier;

    if (entry != NULL) { /* had no answer; the entry needs one to come free */
        request->carrier = NULL;
        answer_without_body(entry, request->unique, 0);
    }
    request->data = NULL;
}

/* --- life ------------------------------------------------------------------------------ */

static int uring_start(FsTransport *transport)
{
    return 0; /* fs_uring_begin() does, which knows what INIT settled */
}

static void uring_stop(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    atomic_store_explicit(&uring->stopped, true, memory_order_relaxed);
    aio_timer_cancel(&uring->tick);
    aio_timer_cancel(&uring->trim_again);
    fs_placement_fini(&uring->placement);
}

static void uring_idle(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    if (!fs_uring_is_stopped(uring) && !fs_uring_trim(uring)) {
        aio_timer_arm_after(&uring->trim_again, TRIM_AGAIN_NS);
    }
}

static void trim_timer_fired(AioTimer *timer)
{
    uring_idle(&aio_container_of(timer, FsUring, trim_again)->base);
}

static void uring_get_stats(FsTransport *transport, FsTransportStats *stats)
{
    *stats = (FsTransportStats){
        .fetched = atomic_load_explicit(&uring_of(transport)->fetched, memory_order_relaxed),
    };
}

static void uring_free(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    uring_stop(transport);
    fs_uring_memory_leave(uring);
    aio_bh_delete(uring->answered_bh);
    uring->answered_bh = NULL;
}

void fs_uring_release(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    fs_uring_free_entries(uring);
    g_free(uring->queues);
    g_free(uring);
}

void fs_uring_begin(FsTransport *transport, const FsUringBegin *begin)
{
    FsUring *uring = uring_of(transport);

    assert(uring->queues == NULL && begin->depth > 0);
    if (fs_uring_is_stopped(uring)) {
        return;
    }
    uring->device_fd = begin->device_fd;
    uring->device_slot = begin->device_slot;
    uring->payload_size = (begin->payload_size + uring->page - 1) / uring->page * uring->page;
    uring->depth = begin->depth;
    uring->queue_count = begin->queue_count;
    fs_placement_init(&uring->placement, begin->queues, begin->queue_count, begin->all_queues);
    uring->queues = g_new0(FsUringQueue, begin->queue_count);
    for (unsigned i = 0; i < begin->queue_count; i++) {
        uring->queues[i].number = begin->queues[i];
        fs_stall_init(&uring->queues[i].stall);
    }
    /* one for each queue first: requests wait until all have one */
    for (unsigned entries = 0; entries < begin->depth; entries++) {
        for (unsigned i = 0; i < begin->queue_count; i++) {
            if (!fs_uring_add_entry(uring, &uring->queues[i])) {
                if (entries == 0) {
                    fs_uring_turn_off(uring);
                }
                return;
            }
        }
    }
}

static const FsTransportOps uring_ops = {
    .name = "uring",
    .start = uring_start,
    .stop = uring_stop,
    .resume = uring_resume,
    .recycle = uring_recycle,
    .offloaded = uring_offloaded,
    .interrupt = uring_interrupt,
    .idle = uring_idle,
    .free = uring_free,
    .reply = uring_reply,
    .send = uring_send,
    .get_stats = uring_get_stats,
};

FsTransport *fs_uring_new(const FsUringParams *params, GError **error)
{
    AioRing *ring = aio_context_ring(params->ctx);

    if (ring == NULL) {
        g_set_error(error, AIO_ERROR, ENOSYS, "the worker has no io_uring");
        return NULL;
    }
    if (!(aio_ring_setup_flags(ring) & IORING_SETUP_SQE128) ||
        !aio_ring_has_opcode(ring, IORING_OP_URING_CMD)) {
        g_set_error(error, AIO_ERROR, ENOSYS, "this kernel's io_uring has no commands");
        return NULL;
    }

    FsUring *uring = g_new0(FsUring, 1);
    uring->base.ops = &uring_ops;
    uring->entry_done = entry_done;
    uring->ctx = params->ctx;
    uring->ring = ring;
    uring->params = *params;
    uring->page = (size_t)sysconf(_SC_PAGESIZE);
    uring->waiting_tail = &uring->waiting;
    uring->answered_bh = aio_bh_new(params->ctx, answered_bh, uring);
    aio_timer_init(&uring->tick, params->ctx, fs_uring_tick);
    aio_timer_init(&uring->trim_again, params->ctx, trim_timer_fired);
    fs_uring_memory_join(uring);
    return &uring->base;
}
