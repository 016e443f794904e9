/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FUSE over io_uring: requests are completions, answers are submissions.
 *
 * How it works (docs/design/transport-uring.md has the whole story)
 *
 * An entry is a buffer that the kernel fills with a request. It is registered
 * for a queue once, then goes back and forth: a completion brings a request,
 * COMMIT_AND_FETCH takes its answer and waits for the next. It is the worker's,
 * except for its buffer, which belongs to
 *
 *   the kernel                         ENTRY_IN_KERNEL
 *   the request, so whoever answers    ENTRY_WITH_REQUEST
 *   nobody any more                    ENTRY_DEAD
 *
 * Another thread that answers fills the buffer, pushes the entry to "answered"
 * and schedules a bottom half. It does so before it lets go of its request,
 * which keeps the worker, and so this transport, alive.
 *
 * Requests that wait for a lock must not keep out the unlock: a request that a
 * helper has does not count for its queue's depth, and a queue that stands
 * still (stall.h) gets one more entry and a nudge (nudge.h).
 *
 * The kernel copies into a buffer by task work of the worker's thread, which
 * with DEFER_TASKRUN runs inside io_uring_enter only. That is why uring_idle()
 * may drop the pages of an entry that is in the kernel and has no completion.
 */
#include "fs/transport/uring.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/buffer.h"
#include "aio/error.h"
#include "aio/timer.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/request-internal.h"
#include "fs/transport/nudge.h"
#include "fs/transport/stall.h"

/** How often a queue is looked at in which requests may wait. */
#define TICK_NS (INT64_C(1000) * 1000)
/** How often where nothing could be done about it. */
#define PATIENT_NS (INT64_C(100) * 1000 * 1000)
/** When giving memory back has to wait for completions, for how long. */
#define TRIM_AGAIN_NS (INT64_C(10) * 1000 * 1000)
/** Files tried for a nudge. */
#define NUDGE_TRIES 8
/** No kernel has this queue: registering for it turns the mode off. */
#define NO_QUEUE UINT16_MAX

typedef enum EntryState { ENTRY_IN_KERNEL, ENTRY_WITH_REQUEST, ENTRY_DEAD } EntryState;

typedef struct FsUring FsUring;

typedef struct Queue {
    FsStall stall;
    unsigned number;
    unsigned entries;   /* registered and not known to be dead */
    unsigned offloaded; /* of them with a request that a helper has */
    bool unreachable;   /* by nudges, and the log knows */
} Queue;

typedef struct Entry {
    CqeHandler fetch; /* REGISTER or COMMIT_AND_FETCH */
    FsUring *uring;
    Queue *queue;            /* NULL: the entry that turns the mode off */
    struct Entry *next;      /* all entries */
    struct Entry *next_held; /* waiting or answered list */
    struct fs_fuse_uring_header *header;
    char *payload;
    struct iovec iov[2]; /* both, for REGISTER */
    uint64_t commit_id;
    uint64_t commit_number; /* for FsStall */
    uint64_t nodeid;        /* of the request */
    bool offloaded;         /* the request is with a helper */
    size_t touched;         /* bytes of the payload that may have pages */
    EntryState state;
    bool registered; /* the kernel has filled it once */
} Entry;

struct FsUring {
    FsTransport base;
    AioContext *ctx;
    AioRing *ring;
    FsUringParams params;
    int device_fd;
    int device_slot; /* in the ring's file table; -1: not there */
    size_t payload_size;
    size_t page;
    Queue *queues;
    unsigned queue_count;
    Entry *entries;
    Entry *waiting; /* have a request that the worker cannot take yet; first in first out */
    Entry **waiting_tail;
    AioBh *answered_bh;
    unsigned depth;
    AioTimer tick;
    AioTimer trim_again;
    uint64_t nudges;
    uint64_t file_nodeid; /* a regular file that had a request; 0: none yet */
    bool refused;
    bool was_broken;
    _Atomic(bool) stopped;     /* written by the worker */
    _Atomic(Entry *) answered; /* by other threads */
    _Atomic(uint64_t) fetched; /* written by the worker */
};

static FsUring *uring_of(FsTransport *transport)
{
    return aio_container_of(transport, FsUring, base);
}

static bool is_stopped(const FsUring *uring)
{
    return atomic_load_explicit(&uring->stopped, memory_order_relaxed);
}

/** What the end of the connection looks like. */
static bool is_end(int result)
{
    return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED ||
           result == -ENOENT || result == -ENODEV;
}

/* --- entries and the kernel -------------------------------------------------- */

static void prepare_command(struct io_uring_sqe *sqe, const Entry *entry, uint32_t operation)
{
    struct fs_fuse_uring_command *command = (void *)sqe->cmd;

    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = entry->uring->device_fd;
    if (entry->uring->device_slot >= 0) {
        sqe->fd = entry->uring->device_slot;
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    sqe->cmd_op = operation;
    *command = (struct fs_fuse_uring_command){
        .commit_id = entry->commit_id,
        .qid = entry->queue != NULL ? (uint16_t)entry->queue->number : NO_QUEUE,
    };
}

static void prepare_register(struct io_uring_sqe *sqe, void *opaque)
{
    Entry *entry = opaque;

    prepare_command(sqe, entry, FS_FUSE_URING_REGISTER);
    sqe->addr = (uintptr_t)entry->iov;
    sqe->len = G_N_ELEMENTS(entry->iov);
}

static void prepare_commit(struct io_uring_sqe *sqe, void *opaque)
{
    prepare_command(sqe, opaque, FS_FUSE_URING_COMMIT_AND_FETCH);
}

static void give_to_kernel(Entry *entry, AioPrepareFn *prepare)
{
    entry->state = ENTRY_IN_KERNEL;
    aio_ring_add(entry->uring->ring, prepare, entry, &entry->fetch);
}

static void commit(Entry *entry)
{
    if (is_stopped(entry->uring)) {
        entry->state = ENTRY_DEAD; /* nobody waits any more */
        return;
    }
    entry->queue->offloaded -= entry->offloaded;
    entry->offloaded = false;
    entry->commit_number = fs_stall_committed(&entry->queue->stall);
    give_to_kernel(entry, prepare_commit);
}

static void entry_done(CqeHandler *handler);

/** False: no memory. */
static bool add_entry(FsUring *uring, Queue *queue)
{
    Entry *entry = g_try_new0(Entry, 1);
    if (entry == NULL) {
        return false;
    }
    char *memory = mmap(NULL, uring->page + uring->payload_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        g_free(entry);
        return false;
    }
    /* entries lie side by side: a huge page would hold several that are never used */
    (void)madvise(memory, uring->page + uring->payload_size, MADV_NOHUGEPAGE);
    entry->fetch.callback = entry_done;
    entry->fetch.endless = true;
    entry->uring = uring;
    entry->queue = queue;
    entry->header = (void *)memory;
    entry->payload = memory + uring->page;
    entry->iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(*entry->header)};
    entry->iov[1] = (struct iovec){.iov_base = entry->payload, .iov_len = uring->payload_size};
    entry->next = uring->entries;
    uring->entries = entry;
    queue->entries++;
    fs_stall_registered(&queue->stall);
    give_to_kernel(entry, prepare_register);
    return true;
}

/** Have the kernel refuse something, so that it turns to the device. */
static void turn_off(FsUring *uring)
{
    static const struct iovec nothing[2];
    Entry *entry = g_new0(Entry, 1);

    entry->fetch.callback = entry_done;
    entry->fetch.endless = true;
    entry->uring = uring;
    memcpy(entry->iov, nothing, sizeof(nothing));
    entry->next = uring->entries;
    uring->entries = entry;
    give_to_kernel(entry, prepare_register);
}

/* --- queues that stand still --------------------------------------------------- */

static void watch_queue(FsUring *uring, const Queue *queue)
{
    if (queue->stall.exhausted && !aio_timer_is_armed(&uring->tick)) {
        aio_timer_arm_after(&uring->tick, TICK_NS);
    }
}

/** Files that the kernel may know, those with a waiting request first. */
static unsigned nudge_candidates(const FsUring *uring, const Queue *queue, uint64_t *nodeids)
{
    unsigned count = 0;

    if (uring->file_nodeid != 0) {
        nodeids[count++] = uring->file_nodeid;
    }
    for (const Entry *entry = uring->entries; entry != NULL && count < NUDGE_TRIES;
         entry = entry->next) {
        if (entry->state == ENTRY_WITH_REQUEST && entry->queue == queue &&
            (count == 0 || entry->nodeid != nodeids[count - 1])) {
            nodeids[count++] = entry->nodeid;
        }
    }
    return count;
}

/** Have the kernel look at @queue, which has an entry for that. */
static bool nudge(FsUring *uring, Queue *queue)
{
    uint64_t nodeids[NUDGE_TRIES];
    const unsigned count = nudge_candidates(uring, queue, nodeids);

    (void)aio_ring_submit(uring->ring); /* the entry first */
    uring->nudges++;
    int result = fs_nudge_send(uring->device_fd, queue->number, nodeids, count,
                               ((uint64_t)(uintptr_t)queue << 16) + (uring->nudges << 1));
    if (result < 0 && count > 0 && !queue->unreachable && !is_end(result)) {
        queue->unreachable = true;
        g_message("cannot nudge queue %u of FUSE over io_uring, requests may wait longer in it: %s",
                  queue->number, g_strerror(-result));
    }
    return result == 0;
}

static void tick_timer_fired(AioTimer *timer)
{
    FsUring *uring = aio_container_of(timer, FsUring, tick);
    bool again = false;
    int64_t pause = TICK_NS;

    for (unsigned i = 0; i < uring->queue_count; i++) {
        Queue *queue = &uring->queues[i];
        unsigned actions = 0;

        if (uring->waiting == NULL) { /* otherwise the worker is full, and more entries no use */
            actions = fs_stall_tick(&queue->stall);
        }
        if ((actions & FS_STALL_ADD) && !add_entry(uring, queue)) {
            pause = PATIENT_NS; /* no memory now */
        } else if ((actions & FS_STALL_NUDGE) && !nudge(uring, queue)) {
            pause = PATIENT_NS;
        }
        again = again || queue->stall.exhausted;
    }
    if (again) {
        aio_timer_arm_after(timer, pause);
    }
}

/** A request that a helper has may wait long: its queue gets another entry instead. */
static void uring_offloaded(FsTransport *transport, FsRequest *request)
{
    FsUring *uring = uring_of(transport);
    Entry *entry = request->carrier;
    Queue *queue = entry->queue;

    if (!entry->offloaded && !is_stopped(uring)) {
        entry->offloaded = true;
        queue->offloaded++;
        if (queue->entries - queue->offloaded < uring->depth) {
            (void)add_entry(uring, queue); /* no memory: the tick tries again if need be */
        }
    }
}

/* --- receiving -------------------------------------------------------------------- */

/** What the kernel says about lengths, which nobody should have to trust. */
static bool lengths_are_sane(const Entry *entry, const struct fuse_in_header *in)
{
    const struct fs_fuse_uring_header *header = entry->header;

    return header->payload_size <= entry->uring->payload_size &&
           in->len >= sizeof(*in) + header->payload_size &&
           in->len - sizeof(*in) - header->payload_size <= sizeof(header->op_in);
}

static void entry_received(Entry *entry, FsRequest *request)
{
    FsUring *uring = entry->uring;
    const struct fs_fuse_uring_header *header = entry->header;
    struct fuse_in_header in;

    memcpy(&in, header->in_out, sizeof(in));
    const size_t operation = in.len - sizeof(in) - header->payload_size;
    char *start = entry->payload - operation - sizeof(in);

    memcpy(start, &in, sizeof(in));
    memcpy(start + sizeof(in), header->op_in, operation);
    entry->touched = MAX(entry->touched, header->payload_size);

    request->transport = &uring->base;
    request->carrier = entry;
    request->start = start;
    request->data = entry->payload;
    request->capacity = uring->payload_size;
    request->length = in.len;
    aio_counter_add(&uring->fetched, 1);
    uring->params.events->received(request, uring->params.opaque);
}

static void answer_without_body(Entry *entry, uint64_t unique, int error)
{
    const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = unique};

    memcpy(entry->header->in_out, &out, sizeof(out));
    entry->header->payload_size = 0;
    commit(entry);
}

static void wait_for_room(Entry *entry)
{
    FsUring *uring = entry->uring;

    entry->next_held = NULL;
    *uring->waiting_tail = entry;
    uring->waiting_tail = &entry->next_held;
}

static void entry_filled(Entry *entry)
{
    FsUring *uring = entry->uring;
    struct fuse_in_header in;

    entry->state = ENTRY_WITH_REQUEST;
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
        entry_received(entry, request);
    }
}

static void entry_failed(Entry *entry, int result)
{
    FsUring *uring = entry->uring;

    entry->state = ENTRY_DEAD;
    if (entry->queue != NULL) {
        entry->queue->entries--;
    }
    if (is_end(result) || is_stopped(uring)) {
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
    Entry *entry = aio_container_of(handler, Entry, fetch);
    FsUring *uring = entry->uring;

    if (entry->queue != NULL) {
        fs_stall_filled(&entry->queue->stall, entry->commit_number);
    }
    if (handler->res < 0) {
        entry_failed(entry, handler->res);
    } else if (is_stopped(uring)) {
        entry->state = ENTRY_DEAD; /* a request that came too late */
    } else {
        watch_queue(uring, entry->queue);
        entry_filled(entry);
    }
}

static void uring_resume(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    while (uring->waiting != NULL && !is_stopped(uring)) {
        FsRequest *request = uring->params.events->take(uring->params.opaque);
        if (request == NULL) {
            return;
        }
        Entry *entry = uring->waiting;
        uring->waiting = entry->next_held;
        if (uring->waiting == NULL) {
            uring->waiting_tail = &uring->waiting;
        }
        entry_received(entry, request);
    }
}

/* --- answering --------------------------------------------------------------------- */

static void answered_bh(void *opaque)
{
    FsUring *uring = opaque;
    Entry *entry = atomic_exchange_explicit(&uring->answered, NULL, memory_order_acquire);

    while (entry != NULL) {
        Entry *next = entry->next_held;
        commit(entry);
        entry = next;
    }
}

/** Commit @entry, whose buffer holds the answer. Any thread that holds its request. */
static void commit_from_anywhere(Entry *entry)
{
    FsUring *uring = entry->uring;

    if (aio_context_is_home(uring->ctx)) {
        commit(entry);
        return;
    }
    entry->next_held = atomic_load_explicit(&uring->answered, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&uring->answered, &entry->next_held, entry,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    aio_bh_schedule(uring->answered_bh);
}

/** Put the answer's body into the payload. False: it does not fit. */
static bool fill_payload(Entry *entry, const struct iovec *iov, int count)
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
    entry->touched = MAX(entry->touched, length);
    return true;
}

static int uring_reply(FsTransport *transport, FsRequest *request, struct iovec *iov, int count)
{
    FsUring *uring = uring_of(transport);
    Entry *entry = request->carrier;
    struct fuse_out_header out;

    memcpy(&out, iov[0].iov_base, sizeof(out));
    entry->touched = MAX(entry->touched, request->used);
    if (!fill_payload(entry, iov + 1, count - 1)) {
        g_warning("the answer to request %" G_GUINT64_FORMAT " (opcode %u) is too long: %u bytes",
                  (guint64)request->unique, request->opcode, out.len);
        out.error = -EIO;
        out.len = sizeof(out);
        entry->header->payload_size = 0;
    }
    memcpy(entry->header->in_out, &out, sizeof(out));

    const bool gone = is_stopped(uring);
    request->carrier = NULL;
    request->data = NULL;
    commit_from_anywhere(entry);
    fs_request_sent(request);
    return gone ? -ENOENT : 0;
}

/** Messages that answer no request leave by the device. */
static int uring_send(FsTransport *transport, const struct iovec *iov, int count)
{
    return -ENOENT;
}

static void uring_recycle(FsTransport *transport, FsRequest *request)
{
    Entry *entry = request->carrier;

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
}

/** Give pages back. False: not now, something may be on its way into an entry. */
static bool trim(FsUring *uring)
{
    /* answers first: they lie in buffers that count as the kernel's */
    (void)aio_ring_submit(uring->ring);
    if (aio_ring_queued(uring->ring) > 0 || aio_ring_has_completions(uring->ring) ||
        aio_ring_is_ready(uring->ring)) {
        return false;
    }
    for (Entry *entry = uring->entries; entry != NULL; entry = entry->next) {
        if (entry->state == ENTRY_IN_KERNEL && entry->touched > AIO_BUFFER_RESIDENT) {
            madvise(entry->payload + AIO_BUFFER_RESIDENT, entry->touched - AIO_BUFFER_RESIDENT,
                    MADV_DONTNEED);
            entry->touched = AIO_BUFFER_RESIDENT;
        }
    }
    return true;
}

static void uring_idle(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    if ((aio_ring_setup_flags(uring->ring) & IORING_SETUP_DEFER_TASKRUN) && !is_stopped(uring) &&
        !trim(uring)) {
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
    aio_bh_delete(uring->answered_bh);
    uring->answered_bh = NULL;
}

void fs_uring_release(FsTransport *transport)
{
    FsUring *uring = uring_of(transport);

    while (uring->entries != NULL) {
        Entry *next = uring->entries->next;
        if (uring->entries->header != NULL) {
            munmap(uring->entries->header, uring->page + uring->payload_size);
        }
        g_free(uring->entries);
        uring->entries = next;
    }
    g_free(uring->queues);
    g_free(uring);
}

void fs_uring_begin(FsTransport *transport, const FsUringBegin *begin)
{
    FsUring *uring = uring_of(transport);

    assert(uring->queues == NULL && begin->depth > 0);
    if (is_stopped(uring)) {
        return;
    }
    uring->device_fd = begin->device_fd;
    uring->device_slot = begin->device_slot;
    uring->payload_size = (begin->payload_size + uring->page - 1) / uring->page * uring->page;
    uring->depth = begin->depth;
    uring->queue_count = begin->queue_count;
    uring->queues = g_new0(Queue, begin->queue_count);
    for (unsigned i = 0; i < begin->queue_count; i++) {
        uring->queues[i].number = begin->queues[i];
        fs_stall_init(&uring->queues[i].stall);
    }
    /* one for each queue first: requests wait until all have one */
    for (unsigned entries = 0; entries < begin->depth; entries++) {
        for (unsigned i = 0; i < begin->queue_count; i++) {
            if (!add_entry(uring, &uring->queues[i])) {
                if (entries == 0) {
                    turn_off(uring);
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
    uring->ctx = params->ctx;
    uring->ring = ring;
    uring->params = *params;
    uring->page = (size_t)sysconf(_SC_PAGESIZE);
    uring->waiting_tail = &uring->waiting;
    uring->answered_bh = aio_bh_new(params->ctx, answered_bh, uring);
    aio_timer_init(&uring->tick, params->ctx, tick_timer_fired);
    aio_timer_init(&uring->trim_again, params->ctx, trim_timer_fired);
    return &uring->base;
}
