/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The classic transport: a cloned /dev/fuse descriptor per worker.
 *
 * How it works
 *
 * All clones of a connection share one queue of new requests; a request is
 * then bound to the clone it was read from, and must be answered there. A
 * clone belongs to one worker: opened, polled, read and closed on its thread.
 * Only answers may be written to it by other threads, and those exist only
 * while the worker has requests out, so never after close.
 *
 * Receiving. The clone is watched for readability with EPOLLEXCLUSIVE, so that
 * one sleeping worker wakes up per request. The handler read(2)s requests
 * until EAGAIN or FS_BURST_MAX. The kernel wants room for the largest WRITE it
 * may send, so each read goes to a full-size buffer (memory is touched only
 * as used), placed so that the data of a WRITE begins on a page.
 *
 * When to stop reading, and whether answers given at once are written at once,
 * is decided by burst.h. Between two reads the ring may submit what the
 * operations have queued (aio_ring_keep_busy()), so that the disk works
 * already while the rest of the burst is read.
 *
 * Answering. An answer of which nobody looks at the result may travel as an
 * SQE with the worker's next submission; the ring's file table holds the clone
 * at slot 0. Its bytes must stay in place until the CQE: the data of a READ
 * already lies behind room for the header, small answers are copied into the
 * request. Everything else is a writev(2) by the caller. A ring WRITE to
 * /dev/fuse with O_NONBLOCK completes inside the submission.
 *
 * End. Once the connection is gone, the descriptor polls POLLERR and read(2)
 * gives ENODEV, or ECONNABORTED if it was aborted (FUSE_ABORT_ERROR, Linux
 * 4.20). While it goes, a read may meet ECONNABORTED for the one request that
 * it was about to take, also at a plain unmount; so that error counts only
 * after POLLERR. ENOENT is a request interrupted before it was read.
 */
#include "fs/transport/device.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "aio/buffer.h"
#include "aio/error.h"
#include "aio/handler.h"
#include "aio/timer.h"
#include "fs/session/mount.h"
#include "fs/session/request-internal.h"
#include "fs/transport/arrivals.h"
#include "fs/transport/burst.h"
#include "fs/transport/follow.h"

/** Free buffers kept per worker, and as many large ones by all workers together. */
#define KEPT_BUFFERS 128
/** Slot of the clone in the ring's file table. */
#define DEVICE_SLOT 0
/**
 * Longer answers are written at once: copying a batch of them takes so long that the other workers
 * read the clients' next requests, into more buffers, before this one has its buffers back.
 */
#define TRAVEL_MAX ((size_t)64 * 1024)
/** When memory for a buffer is short, try again after this many nanoseconds. */
#define RETRY_NS (INT64_C(10) * 1000 * 1000)
/** Kernels without FUSE_MAX_PAGES (before Linux 4.20) READ up to this many bytes. */
#define DATA_SIZE_MIN ((size_t)32 * 4096)

_Static_assert(FS_TRANSPORT_HEADROOM ==
                   sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in),
               "data of a WRITE is page aligned");

typedef struct FsDevice {
    FsTransport base;
    AioContext *ctx;
    AioRing *ring; /* NULL: no io_uring */
    bool fixed;    /* the clone is in the ring's file table */
    int fd;
    const FsTransportEvents *events;
    void *opaque;
    AioBufferPool *buffers;
    size_t data_size;
    FsRequest *spare; /* with a buffer, for the next read */
    bool reading;     /* between start and stop */
    bool watching;    /* the handler is set */
    bool gone;        /* the connection is, but read(2) has not said why */
    bool wrote;       /* an answer was written since the last read */
    FsBurst burst;
    FsFollow follow;
    FsArrivals arrivals;
    int64_t taken_at; /* when the last request was read; nanoseconds */
    AioTimer retry;
    /* counters; reads and eagain have one writer */
    _Atomic(uint64_t) reads;
    _Atomic(uint64_t) eagain;
    _Atomic(uint64_t) writes;
} FsDevice;

static FsDevice *device_of(FsTransport *transport)
{
    return aio_container_of(transport, FsDevice, base);
}

/* --- receiving ---------------------------------------------------------- */

static void device_readable(void *opaque);

static void watch(FsDevice *device, bool on)
{
    const AioFdOps ops = {.read = device_readable, .exclusive = true};

    if (device->watching != on) {
        device->watching = on;
        aio_set_fd_handler(device->ctx, device->fd, on ? &ops : NULL, device);
    }
}

/** Have an empty request with a buffer at hand. False: pause. */
static bool prepare_spare(FsDevice *device)
{
    if (device->spare != NULL) {
        return true;
    }
    FsRequest *request = device->events->take(device->opaque);
    if (request != NULL) {
        request->transport = &device->base;
        request->data = aio_buffer_get(device->buffers);
        request->capacity = device->data_size;
        if (request->data == NULL) {
            device->events->untake(request, device->opaque);
            request = NULL;
        }
    }
    device->spare = request;
    return request != NULL;
}

static void pause_reading(FsDevice *device)
{
    watch(device, false);
    aio_timer_arm_after(&device->retry, RETRY_NS);
}

static void resume_reading(FsDevice *device)
{
    aio_timer_cancel(&device->retry);
    if (device->reading) {
        watch(device, true);
    }
}

static void device_retry(AioTimer *timer)
{
    resume_reading(aio_container_of(timer, FsDevice, retry));
}

static void stop_reading(FsDevice *device)
{
    device->reading = false;
    aio_timer_cancel(&device->retry);
    watch(device, false);
}

static void device_closed(FsDevice *device, int error)
{
    stop_reading(device);
    fs_follow_go_home(&device->follow);
    device->events->closed(error, device->opaque);
}

typedef enum ReadResult { READ_REQUEST, READ_NOTHING, READ_INTERRUPTED, READ_CLOSED } ReadResult;

/** Whether @in (of @length bytes, not checked yet) moves more than a little. */
static bool is_long(const struct fuse_in_header *in, size_t length)
{
    const struct fuse_read_in *read_in = (const void *)(in + 1);

    return length > TRAVEL_MAX ||
           (in->opcode == FUSE_READ && length >= sizeof(*in) + sizeof(*read_in) &&
            read_in->size > TRAVEL_MAX);
}

static ReadResult read_request(FsDevice *device)
{
    FsRequest *request = device->spare;
    request->start = request->data - FS_TRANSPORT_HEADROOM;
    const struct fuse_in_header *in = (const void *)request->start;

    ssize_t length = read(device->fd, request->start, FS_TRANSPORT_HEADROOM + device->data_size);
    aio_counter_add(&device->reads, 1);
    if (length < 0) {
        switch (errno) {
        case EAGAIN:
            aio_counter_add(&device->eagain, 1);
            return READ_NOTHING;
        case ECONNABORTED:
            if (!device->gone) {
                device->gone = fs_mount_is_gone(device->fd);
                return READ_INTERRUPTED;
            }
            device_closed(device, ECONNABORTED);
            return READ_CLOSED;
        case EINTR:
        case ENOENT:
            return READ_INTERRUPTED;
        default:
            device_closed(device, errno);
            return READ_CLOSED;
        }
    }
    if (length == 0) { /* not a device: a socket whose other end is gone */
        device_closed(device, ENODEV);
        return READ_CLOSED;
    }
    if ((size_t)length < sizeof(*in) || in->len != (size_t)length) {
        g_critical("the FUSE device sent a broken request of %zd bytes", length);
        device_closed(device, EIO);
        return READ_CLOSED;
    }
    request->length = (size_t)length;
    request->received_at = aio_context_now(device->ctx);
    device->spare = NULL;
    device->taken_at = request->received_at;
    const bool counts =
        fs_arrivals_add(&device->arrivals, in->opcode, in->pid, is_long(in, (size_t)length));
    request->carrier = counts ? device : NULL;
    device->events->received(request, device->opaque);
    return READ_REQUEST;
}

static void device_readable(void *opaque)
{
    FsDevice *device = opaque;
    unsigned requests = 0;

    fs_arrivals_begin(&device->arrivals);
    for (unsigned reads = 0; reads < 2 * FS_BURST_MAX && device->reading; reads++) {
        if (!prepare_spare(device)) {
            pause_reading(device);
            break;
        }
        device->wrote = false;
        ReadResult result = read_request(device);
        if (result == READ_CLOSED) {
            return;
        }
        requests += result == READ_REQUEST;
        if (result == READ_NOTHING ||
            (result == READ_REQUEST &&
             !fs_burst_read_again(&device->burst, requests, device->wrote))) {
            break;
        }
        if (device->ring != NULL) {
            aio_ring_keep_busy(device->ring); /* work begins before the last request is read */
        }
    }
    const FsArrivals *arrivals = &device->arrivals;
    fs_burst_end(&device->burst, arrivals->count);
    if (arrivals->count > 0) {
        fs_follow_turn(&device->follow, arrivals->count, arrivals->alone, (pid_t)arrivals->client,
                       device->taken_at);
    } else if (requests > 0) {
        fs_follow_unasked(&device->follow, requests, device->taken_at);
    }
}

static int device_start(FsTransport *transport)
{
    FsDevice *device = device_of(transport);
    device->reading = true;
    watch(device, true);
    return 0;
}

static void device_stop(FsTransport *transport)
{
    stop_reading(device_of(transport));
    fs_follow_go_home(&device_of(transport)->follow);
}

static void device_resume(FsTransport *transport)
{
    resume_reading(device_of(transport));
}

static void release_buffer(FsDevice *device, FsRequest *request)
{
    aio_buffer_put(device->buffers, request->data, request->used);
    request->data = NULL;
}

static void device_recycle(FsTransport *transport, FsRequest *request)
{
    FsDevice *device = device_of(transport);

    if (request->carrier != NULL && !request->uncounted) {
        fs_arrivals_remove(&device->arrivals);
    }
    if (request->data != NULL) {
        release_buffer(device, request);
    }
}

static void device_offloaded(FsTransport *transport, FsRequest *request)
{
    if (request->carrier != NULL) {
        fs_arrivals_remove(&device_of(transport)->arrivals);
    }
}

static void device_idle(FsTransport *transport)
{
    FsDevice *device = device_of(transport);

    fs_follow_go_home(&device->follow);
    aio_buffer_pool_trim(device->buffers);
}

/* --- answering ------------------------------------------------------------ */

static int write_message(FsDevice *device, const struct iovec *iov, int count)
{
    size_t total = 0;
    ssize_t written;

    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    do {
        written = writev(device->fd, iov, count);
        atomic_fetch_add_explicit(&device->writes, 1, memory_order_relaxed);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return -errno;
    }
    return (size_t)written == total ? 0 : -EIO;
}

static bool is_gone(int result)
{
    return result == -ENOENT || result == -ENODEV || result == -ECONNABORTED || result == -EPIPE;
}

/**
 * An answer was refused although the connection lives. The kernel may or may
 * not have taken it: make sure that the client does not wait for ever.
 */
static void report_refused(FsDevice *device, const FsRequest *request, int result)
{
    struct fuse_out_header header = {
        .len = sizeof(header),
        .error = -EIO,
        .unique = request->unique,
    };
    const struct iovec iov = {.iov_base = &header, .iov_len = sizeof(header)};

    g_warning("the kernel refused the answer to request %" G_GUINT64_FORMAT " (opcode %u): %s",
              (guint64)request->unique, request->opcode, g_strerror(-result));
    write_message(device, &iov, 1);
}

static void prepare_answer(struct io_uring_sqe *sqe, void *opaque)
{
    const FsRequest *request = opaque;
    const FsDevice *device = device_of(request->transport);
    io_uring_prep_write(sqe, device->fixed ? DEVICE_SLOT : device->fd, request->answer,
                        (unsigned)request->answer_length, 0);
    if (device->fixed) {
        sqe->flags |= IOSQE_FIXED_FILE;
    }
}

static void answer_done(CqeHandler *handler)
{
    FsRequest *request = aio_container_of(handler, FsRequest, sending);
    FsDevice *device = device_of(request->transport);
    int result = handler->res;

    if (result == -EAGAIN || result == -EINTR) {
        const struct iovec iov = {
            .iov_base = (void *)request->answer,
            .iov_len = request->answer_length,
        };
        result = write_message(device, &iov, 1);
    } else if (result >= 0) {
        result = (size_t)result == request->answer_length ? 0 : -EIO;
    }
    if (result < 0 && !is_gone(result)) {
        report_refused(device, request, result);
    }
    fs_request_sent(request, aio_context_now(device->ctx));
}

/** Lay the answer out in one piece that stays in place. False: it does not fit. */
static bool pin_answer(FsRequest *request, const struct iovec *iov, int count)
{
    const size_t header = sizeof(struct fuse_out_header);

    if (count == 2 && iov[1].iov_base == request->data) {
        memcpy(request->data - header, iov[0].iov_base, header);
        request->answer = request->data - header;
        request->answer_length = header + iov[1].iov_len;
        return true;
    }

    size_t length = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > sizeof(request->small_answer) - length) {
            return false;
        }
        memcpy(request->small_answer + length, iov[i].iov_base, iov[i].iov_len);
        length += iov[i].iov_len;
    }
    request->answer = request->small_answer;
    request->answer_length = length;
    return true;
}

/** Whether the answer may go with the next submission. On the worker's thread. */
static bool may_travel(const FsDevice *device, const FsRequest *request, size_t length)
{
    return device->ring != NULL && request->deferrable && length <= TRAVEL_MAX &&
           (!request->in_op || device->burst.hold);
}

static int device_reply(FsTransport *transport, FsRequest *request, struct iovec *iov, int count)
{
    FsDevice *device = device_of(transport);
    const bool at_home = aio_context_is_home(device->ctx);

    const struct fuse_out_header *header = iov[0].iov_base;
    if (at_home && may_travel(device, request, header->len) && pin_answer(request, iov, count)) {
        if (request->answer == request->small_answer && !request->in_op) {
            /* its client may ask again before the submission is over: see TRAVEL_MAX */
            release_buffer(device, request);
        }
        request->sending.callback = answer_done;
        request->sending.instant = true;
        aio_ring_add(device->ring, prepare_answer, request, &request->sending);
        return 0;
    }

    int result = write_message(device, iov, count);
    if (at_home) {
        device->wrote = true;
    }
    if (result < 0 && !is_gone(result)) {
        report_refused(device, request, result);
    }
    fs_request_sent(request, fs_request_clock(request));
    return result;
}

static int device_send(FsTransport *transport, const struct iovec *iov, int count)
{
    return write_message(device_of(transport), iov, count);
}

/* --- life ------------------------------------------------------------------- */

static void device_get_stats(FsTransport *transport, FsTransportStats *stats)
{
    FsDevice *device = device_of(transport);
    /* the part first: hardly ever more than the whole */
    stats->eagain = atomic_load_explicit(&device->eagain, memory_order_acquire);
    stats->reads = atomic_load_explicit(&device->reads, memory_order_relaxed);
    stats->writes = atomic_load_explicit(&device->writes, memory_order_relaxed);
}

static void device_free(FsTransport *transport)
{
    FsDevice *device = device_of(transport);

    if (device->reading) {
        stop_reading(device);
    }
    fs_follow_fini(&device->follow);
    if (device->spare != NULL) {
        aio_buffer_put(device->buffers, device->spare->data, 0);
        device->spare->data = NULL;
        device->events->untake(device->spare, device->opaque);
    }
    if (device->fixed) {
        aio_ring_register_file(device->ring, DEVICE_SLOT, -1);
    }
    if (device->fd >= 0) {
        close(device->fd);
    }
    if (device->buffers != NULL) {
        aio_buffer_pool_free(device->buffers);
    }
    g_free(device);
}

int fs_device_fd(FsTransport *transport, int *slot)
{
    const FsDevice *device = device_of(transport);

    *slot = device->fixed ? DEVICE_SLOT : -1;
    return device->fd;
}

void fs_device_follow(FsTransport *transport)
{
    FsDevice *device = device_of(transport);

    if (device->ring != NULL) {
        fs_follow_init(&device->follow);
    }
}

static const FsTransportOps device_ops = {
    .name = "device",
    .start = device_start,
    .stop = device_stop,
    .resume = device_resume,
    .recycle = device_recycle,
    .offloaded = device_offloaded,
    .idle = device_idle,
    .free = device_free,
    .reply = device_reply,
    .send = device_send,
    .get_stats = device_get_stats,
};

/**
 * Clone @main_fd, or share it where cloning is not possible (no access to
 * /dev/fuse, Linux before 4.2): requests are then answered through a common
 * table, which costs some locking and nothing else.
 */
static int open_clone(int main_fd, bool is_first)
{
    uint32_t source = (uint32_t)main_fd;
    int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &source) == 0) {
        return fd;
    }
    if (is_first) {
        g_message("cannot clone the FUSE device, workers share it: %s", g_strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    int flags = fcntl(main_fd, F_GETFL);
    if (flags < 0 || fcntl(main_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -1;
    }
    return fcntl(main_fd, F_DUPFD_CLOEXEC, 3);
}

static size_t buffer_size(size_t data_size)
{
    return MAX(data_size, DATA_SIZE_MIN);
}

AioBufferDepot *fs_device_buffers_new(size_t data_size)
{
    return aio_buffer_depot_new(buffer_size(data_size), FS_TRANSPORT_HEADROOM, KEPT_BUFFERS);
}

FsTransport *fs_device_new(const FsDeviceParams *params, GError **error)
{
    FsDevice *device = g_new0(FsDevice, 1);

    device->base.ops = &device_ops;
    device->ctx = params->ctx;
    device->ring = aio_context_ring(params->ctx);
    device->events = params->events;
    device->opaque = params->opaque;
    device->data_size = buffer_size(params->data_size);
    aio_timer_init(&device->retry, device->ctx, device_retry);

    device->fd = open_clone(params->main_fd, params->is_first);
    if (device->fd < 0) {
        g_set_error(error, AIO_ERROR, errno, "cannot share the FUSE device: %s", g_strerror(errno));
        device_free(&device->base);
        return NULL;
    }
    device->buffers = aio_buffer_pool_new_at(params->buffers, KEPT_BUFFERS);
    device->fixed =
        device->ring != NULL && aio_ring_register_file(device->ring, DEVICE_SLOT, device->fd) == 0;
    return &device->base;
}
