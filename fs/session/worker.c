/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FsWorker: see worker.h. */
#include "fs/session/worker.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "aio/trace.h"
#include "fs/session/check.h"
#include "fs/session/extra.h"
#include "fs/session/init.h"
#include "fs/session/interrupt.h"
#include "fs/session/kernel-abi.h"
#include "fs/session/reply.h"
#include "fs/session/session-internal.h"
#include "fs/session/transport-choice.h"
#include "fs/transport/device.h"
#include "fs/transport/uring.h"

/** Empty requests that a worker keeps; a burst beyond costs an allocation. */
#define KEPT_REQUESTS 256

/** After so many nanoseconds without a request a worker gives memory back. */
#define IDLE_NS (INT64_C(1000) * 1000 * 1000)

/** fs_worker_drain() names what it waits for once in so many nanoseconds. */
#define DRAIN_REPORT_NS (INT64_C(5) * 1000 * 1000 * 1000)

/* --- requests coming back --------------------------------------------- */

static void report_if_drained(FsWorker *worker)
{
    if (worker->closed && !worker->drained && worker->live_count == 0) {
        worker->drained = true;
        atomic_fetch_add(&worker->session->drained_workers, 1);
        fs_session_post(worker->session, FS_EVENT_DRAINED);
    }
}

static unsigned held_requests(const FsWorker *worker)
{
    return worker->live_count - worker->uncounted_count;
}

/** Let a paused transport go on once the worker holds few enough. */
static void resume_if_starved(FsWorker *worker)
{
    if (worker->starved && held_requests(worker) < worker->session->params.max_requests) {
        worker->starved = false;
        if (worker->closed) {
            return;
        }
        worker->transport->ops->resume(worker->transport);
        if (worker->uring != NULL) {
            worker->uring->ops->resume(worker->uring);
        }
    }
}

static void keep_or_free(FsWorker *worker, FsRequest *request)
{
    if (worker->free_count >= KEPT_REQUESTS) {
        g_free(request);
        return;
    }
    request->next = worker->free;
    worker->free = request;
    worker->free_count++;
}

static void count_times(FsTimes *times, const FsRequest *request)
{
    /* What has no answer is done now. */
    int64_t answered = request->answered_at != 0 ? request->answered_at : fs_request_clock(request);

    fs_times_record(times, request->opcode, request->error,
                    (uint64_t)MAX(answered - request->received_at, 0));
    if (request->queued != 0) {
        aio_histogram_record(&times->queue, (uint64_t)request->queued);
    }
    if (request->sent_at != 0) {
        aio_histogram_record(&times->reply, (uint64_t)MAX(request->sent_at - answered, 0));
    }
}

static void recycle(FsWorker *worker, FsRequest *request)
{
    count_times(worker->times, request);
    if (request->live_prev != NULL) {
        request->live_prev->live_next = request->live_next;
    } else {
        worker->live = request->live_next;
    }
    if (request->live_next != NULL) {
        request->live_next->live_prev = request->live_prev;
    }
    worker->live_count--;
    worker->uncounted_count -= request->uncounted;

    request->transport->ops->recycle(request->transport, request);
    atomic_store_explicit(&request->state, FS_REQUEST_IDLE, memory_order_relaxed);
    keep_or_free(worker, request);
    resume_if_starved(worker);
    report_if_drained(worker);
}

static void collect_returned(FsWorker *worker)
{
    if (atomic_load_explicit(&worker->returned, memory_order_relaxed) == NULL) {
        return;
    }
    FsRequest *request = atomic_exchange_explicit(&worker->returned, NULL, memory_order_acquire);
    while (request != NULL) {
        FsRequest *next = request->next;
        recycle(worker, request);
        request = next;
    }
}

static void returns_bh(void *opaque)
{
    collect_returned(opaque);
}

void fs_worker_release(FsWorker *worker, FsRequest *request)
{
    if (aio_context_is_home(worker->ctx)) {
        recycle(worker, request);
        return;
    }

    /*
     * The worker may be freed as soon as it has the request back, unless
     * "returning" says that somebody still looks at it. The exchange of
     * "returned" and the load of wants_returns are sequentially consistent,
     * as are their counterparts in set_wants_returns(): one side sees the
     * other.
     */
    atomic_fetch_add(&worker->returning, 1);
    FsRequest *head = atomic_load_explicit(&worker->returned, memory_order_relaxed);
    do {
        request->next = head;
    } while (!atomic_compare_exchange_weak(&worker->returned, &head, request));
    if (atomic_load(&worker->wants_returns)) {
        aio_bh_schedule(worker->returns_bh);
    }
    atomic_fetch_sub(&worker->returning, 1);
}

/** Be told of requests that other threads return, from now on. */
static void set_wants_returns(FsWorker *worker)
{
    atomic_store(&worker->wants_returns, true);
    aio_bh_schedule(worker->returns_bh);
}

/* --- idleness ------------------------------------------------------------- */

static void arm_idle_timer(FsWorker *worker)
{
    worker->idle_received = atomic_load_explicit(&worker->received, memory_order_relaxed);
    aio_timer_arm_after(&worker->idle_timer, IDLE_NS);
}

/** Once a second while requests come, and a last time after them. */
static void idle_timer_fired(AioTimer *timer)
{
    FsWorker *worker = aio_container_of(timer, FsWorker, idle_timer);
    const uint64_t received = atomic_load_explicit(&worker->received, memory_order_relaxed);
    const bool idle = received == worker->idle_received;

    collect_returned(worker);
    if (idle) {
        worker->transport->ops->idle(worker->transport);
        if (worker->uring != NULL) {
            worker->uring->ops->idle(worker->uring);
        }
    }
    if (!worker->closed && (!idle || worker->live_count > 0)) {
        arm_idle_timer(worker);
    }
}

/* --- requests coming in ------------------------------------------------ */

static FsRequest *worker_take(void *opaque)
{
    FsWorker *worker = opaque;

    collect_returned(worker);
    if (held_requests(worker) >= worker->session->params.max_requests) {
        worker->starved = true;
        return NULL;
    }

    FsRequest *request = worker->free;
    if (request != NULL) {
        worker->free = request->next;
        worker->free_count--;
    } else {
        request = g_try_new0(FsRequest, 1);
        if (request == NULL) {
            worker->starved = true;
            return NULL;
        }
        request->worker = worker;
    }
    request->interrupted = false;
    return request;
}

static void worker_untake(FsRequest *request, void *opaque)
{
    keep_or_free(opaque, request);
}

static bool has_answer(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
    case FUSE_NOTIFY_REPLY:
        return false;
    default:
        return true;
    }
}

/** The KILL_SUIDGID bit of a request that has been checked. */
static bool kills_suidgid(const struct fuse_in_header *in)
{
    const void *argument = in + 1;

    switch (in->opcode) {
    case FUSE_WRITE:
        return ((const struct fuse_write_in *)argument)->write_flags & FUSE_WRITE_KILL_SUIDGID;
    case FUSE_OPEN:
        return ((const struct fuse_open_in *)argument)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    case FUSE_CREATE:
        return ((const struct fuse_create_in *)argument)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    case FUSE_SETATTR:
        return ((const struct fuse_setattr_in *)argument)->valid & FATTR_KILL_SUIDGID;
    default:
        return false;
    }
}

/** Refuse a request that libfuse must not see. */
static void refuse(FsRequest *request, int error)
{
    if (has_answer(request->opcode)) {
        fs_reply_raw_error(request, error);
    }
    fs_request_drop(request);
}

static void worker_received(FsRequest *request, void *opaque)
{
    FsWorker *worker = opaque;
    FsSession *session = worker->session;
    struct fuse_in_header *in = (void *)request->start;
    const bool answer = has_answer(in->opcode);

    request->fuse = NULL;
    request->user_data = NULL;
    request->unique = in->unique;
    request->nodeid = in->nodeid;
    request->opcode = in->opcode;
    request->open_flags = 0;
    request->deferrable = false;
    request->uncounted = false;
    request->answered_at = 0;
    request->sent_at = 0;
    request->queued = 0;
    request->error = 0;
    AIO_TRACE4(request_receive, request->unique, request->opcode, request->nodeid, &request->io);
    const char *end = request->start + request->length;
    request->used = end > request->data ? (size_t)(end - request->data) : 0;

    request->live_prev = NULL;
    request->live_next = worker->live;
    if (worker->live != NULL) {
        worker->live->live_prev = request;
    }
    worker->live = request;
    worker->live_count++;
    aio_counter_add(&worker->received, 1);
    aio_counter_add(&worker->expected, answer);

    /* one hold until the answer is sent, one for this function */
    atomic_store_explicit(&request->holds, answer ? 2 : 1, memory_order_relaxed);
    atomic_store_explicit(&request->state, answer ? FS_REQUEST_PENDING : FS_REQUEST_SILENT,
                          memory_order_relaxed);

    if (!worker->closed && !aio_timer_is_armed(&worker->idle_timer)) {
        arm_idle_timer(worker);
    }

    if (!fs_extra_shorten(request, in) || !fs_check_request(in, request->length)) {
        g_warning("request %" G_GUINT64_FORMAT " (opcode %u) of %zu bytes is malformed",
                  (guint64)request->unique, request->opcode, request->length);
        refuse(request, EIO);
        return;
    }
    if (request->opcode == FUSE_NOTIFY_REPLY && session->filesystem->ops.retrieve_reply == NULL) {
        fs_request_drop(request); /* answers nothing that the file system asked */
        return;
    }
    if (request->opcode == FUSE_INIT) {
        if (atomic_load(&session->init_done)) {
            refuse(request, EIO);
            return;
        }
        if (!fs_init_parse(in, request->length, &session->init)) {
            refuse(request, EPROTO);
            return;
        }
    }
    if (request->opcode == FUSE_INTERRUPT && worker->uring != NULL &&
        atomic_load(&session->use_uring)) {
        fs_interrupt_find(session, ((const struct fuse_interrupt_in *)(in + 1))->unique);
        fs_request_drop(request);
        return;
    }
    request->kills_suidgid = kills_suidgid(in);
    fs_extra_read(request, in);
    fs_extra_rewrite(request, in);

    const struct fuse_buf buf = {.mem = in, .size = request->length};
    FsRequest *previous = fs_request_swap_current(request);
    request->in_op = true;
    fuse_session_process_buf(session->fuse, &buf);
    request->in_op = false;
    fs_request_swap_current(previous);
    if (atomic_load_explicit(&request->state, memory_order_relaxed) == FS_REQUEST_PENDING) {
        if (!fs_request_moves_data(request)) {
            aio_context_time_passed(worker->ctx);
        }
        if (request->interrupted) {
            fs_interrupt_deliver(worker, request);
        }
    }
    fs_request_drop(request);
}

/** Tell the operations in flight that nobody waits for them, as an INTERRUPT would. */
static void interrupt_all(FsWorker *worker)
{
    for (const FsRequest *request = worker->live; request != NULL; request = request->live_next) {
        if (atomic_load_explicit(&request->state, memory_order_relaxed) == FS_REQUEST_PENDING) {
            fs_interrupt_deliver(worker, request);
        }
    }
}

static void worker_closed(int error, void *opaque)
{
    FsWorker *worker = opaque;
    FsSession *session = worker->session;
    int none = 0;

    assert(!worker->closed);
    worker->closed = true;
    aio_timer_cancel(&worker->idle_timer);
    if (worker->uring != NULL) {
        worker->uring->ops->stop(worker->uring);
    }
    set_wants_returns(worker);
    collect_returned(worker);
    interrupt_all(worker);

    atomic_compare_exchange_strong(&session->close_error, &none, error);
    atomic_fetch_add(&session->closed_workers, 1);
    fs_session_post(session, FS_EVENT_CLOSED);
    report_if_drained(worker);
}

const FsTransportEvents fs_worker_events = {
    .take = worker_take,
    .untake = worker_untake,
    .received = worker_received,
    .closed = worker_closed,
};

/* --- counters ------------------------------------------------------------ */

void fs_worker_count_answer(FsWorker *worker)
{
    if (aio_context_is_home(worker->ctx)) {
        aio_counter_add(&worker->answered, 1);
    } else {
        atomic_fetch_add_explicit(&worker->answered_elsewhere, 1, memory_order_relaxed);
    }
}

void fs_worker_uncount(FsWorker *worker, FsRequest *request)
{
    if (!request->uncounted) {
        request->uncounted = true;
        worker->uncounted_count++;
        if (request->transport->ops->offloaded != NULL) {
            request->transport->ops->offloaded(request->transport, request);
        }
        resume_if_starved(worker);
    }
}

void fs_worker_count_offload(FsWorker *worker, FsRequest *request)
{
    if (aio_context_is_home(worker->ctx)) {
        fs_worker_uncount(worker, request);
    }
    atomic_fetch_add_explicit(&worker->offloaded, 1, memory_order_relaxed);
}

uint64_t fs_worker_in_flight(const FsWorker *worker)
{
    /* answers first: what is answered has been received */
    uint64_t answered = atomic_load_explicit(&worker->answered, memory_order_acquire) +
                        atomic_load_explicit(&worker->answered_elsewhere, memory_order_acquire);
    return atomic_load_explicit(&worker->expected, memory_order_relaxed) - answered;
}

/* --- life ------------------------------------------------------------------ */

typedef struct WorkerOpen {
    FsWorker *worker;
    GError **error;
} WorkerOpen;

static void open_on_thread(void *opaque)
{
    WorkerOpen *open = opaque;
    FsWorker *worker = open->worker;
    FsSession *session = worker->session;
    const FsDeviceParams params = {
        .ctx = worker->ctx,
        .main_fd = fuse_session_fd(session->fuse),
        .data_size = session->max_write,
        .buffers = session->buffers,
        .is_first = worker->index == 0,
        .events = &fs_worker_events,
        .opaque = worker,
    };

    aio_timer_init(&worker->idle_timer, worker->ctx, idle_timer_fired);
    worker->returns_bh = aio_bh_new(worker->ctx, returns_bh, worker);
    aio_io_set_latency(worker->ctx, &worker->times->backing);
    worker->transport = fs_device_new(&params, open->error);
    if (worker->transport != NULL) {
        fs_choice_open(worker);
    }
}

static void close_on_thread(void *opaque)
{
    FsWorker *worker = opaque;

    if (worker->uring != NULL) {
        worker->uring->ops->free(worker->uring);
    }
    if (worker->transport != NULL) {
        worker->transport->ops->free(worker->transport);
        worker->transport = NULL;
    }
    aio_bh_delete(worker->returns_bh);
    worker->returns_bh = NULL;
    aio_io_set_latency(worker->ctx, NULL);
}

bool fs_worker_open(FsWorker *worker, FsSession *session, unsigned index, GError **error)
{
    AioContextParams params = session->params.context;
    g_autofree char *name = g_strdup_printf("fuse-%u", index);
    WorkerOpen open = {.worker = worker, .error = error};

    worker->session = session;
    worker->index = index;
    params.name = name;
    params.ring.file_slots = MAX(params.ring.file_slots, 1);
    if (atomic_load(&session->use_uring)) {
        params.ring.flags |= AIO_RING_TRY_SQE128;
    }
    worker->thread = aio_iothread_new(&params, -1, error);
    if (worker->thread == NULL) {
        g_prefix_error(error, "cannot start worker %u: ", index);
        return false;
    }
    worker->ctx = aio_iothread_context(worker->thread);
    worker->times = fs_times_new();
    aio_iothread_call(worker->thread, open_on_thread, &open);
    if (worker->transport == NULL) {
        g_prefix_error(error, "cannot open the device for worker %u: ", index);
        fs_worker_close(worker);
        return false;
    }
    return true;
}

static void begin_bh(void *opaque)
{
    FsWorker *worker = opaque;

    if (worker->closed) {
        return;
    }
    int result = worker->transport->ops->start(worker->transport);
    if (result < 0) {
        worker_closed(-result, worker);
    } else if (worker->index > 0) {
        fs_choice_begin(worker); /* the first one's begins when INIT has been answered */
    }
}

void fs_worker_begin(FsWorker *worker)
{
    atomic_fetch_add(&worker->session->begun_workers, 1);
    aio_bh_call_once(worker->ctx, begin_bh, worker);
}

static void quit_bh(void *opaque)
{
    FsWorker *worker = opaque;

    if (!worker->closed) {
        worker->transport->ops->stop(worker->transport);
        worker_closed(ECONNABORTED, worker);
    }
}

void fs_worker_quit(FsWorker *worker)
{
    aio_bh_call_once(worker->ctx, quit_bh, worker);
}

static void drain_report(AioTimer *timer)
{
    FsWorker *worker = aio_container_of(timer, FsWorker, drain_timer);

    for (FsRequest *request = worker->live; request != NULL; request = request->live_next) {
        g_warning("still waiting for request %" G_GUINT64_FORMAT
                  ": opcode %u, node %" G_GUINT64_FORMAT "%s",
                  (guint64)request->unique, request->opcode, (guint64)request->nodeid,
                  request->uncounted ? ", on a helper thread or for a lock" : "");
    }
    aio_timer_arm_after(timer, DRAIN_REPORT_NS);
}

static void drain_on_thread(void *opaque)
{
    FsWorker *worker = opaque;

    quit_bh(worker);
    aio_timer_init(&worker->drain_timer, worker->ctx, drain_report);
    aio_timer_arm_after(&worker->drain_timer, DRAIN_REPORT_NS);
    while (worker->live_count > 0) {
        aio_context_poll(worker->ctx, true);
    }
    aio_timer_cancel(&worker->drain_timer);
    while (atomic_load(&worker->returning) != 0) {
        sched_yield();
    }
}

void fs_worker_drain(FsWorker *worker)
{
    aio_iothread_call(worker->thread, drain_on_thread, worker);
}

void fs_worker_close(FsWorker *worker)
{
    if (worker->thread == NULL) {
        return;
    }
    aio_iothread_call(worker->thread, close_on_thread, worker);
    aio_iothread_free(worker->thread);
    worker->thread = NULL;
    if (worker->uring != NULL) {
        fs_uring_release(worker->uring); /* its ring is gone now */
        worker->uring = NULL;
    }
    g_clear_pointer(&worker->times, fs_times_free);
    while (worker->free != NULL) {
        FsRequest *next = worker->free->next;
        g_free(worker->free);
        worker->free = next;
    }
}
