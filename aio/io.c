/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The I/O engine's state machine, the same for the ring and the helper threads.
 *
 * How it works: a request consists of one or more parts, a part of steps, and
 * a step is one kernel call.
 *
 *     submit --> part --> step --> answer --+--> everything: part done
 *                          ^                |
 *                          +-- again <------+    EINTR, EAGAIN: at once, then
 *                          |                |    after a growing pause
 *                          +-- the rest <---+    short: advance and continue
 *                                           +--> no progress, error: part done
 *
 * A request without an alignment has one part, itself. A direct one that is
 * not aligned has more (io-bounce.c).
 *
 * A short transfer continues on the caller's vector, as long as it ended
 * between two elements or only one is left. Otherwise the rest of the vector
 * is copied once and trimmed in place; the copy is freed with the request.
 *
 * Direct transfers are continued at aligned places only: the kernel refuses
 * others, and a direct read that ends in the middle of a block has met the end
 * of the file, or will say so when the block is read again.
 *
 * done() is called from the ring's dispatch, from a bottom half or from a
 * timer, never from inside a submission, so that a request may live in the
 * frame that submits it. What fails before it reaches the kernel goes through
 * a list and a bottom half for that reason.
 *
 * The common case on the ring, a whole transfer in one step, allocates
 * nothing and makes no system call.
 */
#include "aio/io.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "aio/context-internal.h"
#include "aio/io-internal.h"
#include "aio/iov.h"
#include "aio/trace.h"

#define RETRIES_AT_ONCE     4
#define RETRY_PAUSE_MIN_NS  (20 * 1000)
#define RETRY_PAUSE_MAX_NS  (5 * 1000 * 1000)
#define RETRY_PAUSE_DOUBLES 8

static bool is_transfer(int op)
{
    return op == AIO_IO_READ || op == AIO_IO_WRITE;
}

/* Requests that need no kernel to be answered. */

static void run_answered(void *opaque)
{
    AioIoEngine *engine = opaque;
    AioIo *io;

    while ((io = engine->answered_first)) {
        engine->answered_first = io->state.next_answered;
        if (engine->answered_first) {
            /* done() may turn the loop and wait for the next one. */
            aio_bh_schedule(engine->answered_bh);
        } else {
            engine->answered_tail = &engine->answered_first;
            aio_bh_cancel(engine->answered_bh);
        }
        aio_io_step_done(io, io->state.answer);
    }
}

void aio_io_answer_later(AioIo *io, int32_t answer)
{
    AioIoEngine *engine = io->state.engine;

    io->state.answer = answer;
    io->state.next_answered = NULL;
    *engine->answered_tail = io;
    engine->answered_tail = &io->state.next_answered;
    aio_bh_schedule(engine->answered_bh);
}

/* The engine of a context. */

static void engine_free(void *opaque)
{
    AioIoEngine *engine = opaque;

    while (engine->in_flight > 0) {
        aio_context_poll(engine->ctx, true);
    }
    aio_bh_delete(engine->answered_bh);
    g_free(engine);
}

AioIoEngine *aio_io_engine(AioContext *ctx)
{
    AioIoEngine *engine = aio_context_io_state(ctx);
    if (G_LIKELY(engine)) {
        return engine;
    }
    engine = g_new0(AioIoEngine, 1);
    engine->ctx = ctx;
    engine->counters = aio_context_counters(ctx);
    engine->ring = aio_context_ring(ctx);
    engine->ring_ops = engine->ring ? aio_io_ring_ops(engine->ring) : 0;
    engine->answered_tail = &engine->answered_first;
    engine->answered_bh = aio_bh_new(ctx, run_answered, engine);
    aio_context_set_io_state(ctx, engine, engine_free);
    return engine;
}

/* Steps. */

/* Make the rest of the vector our own, so that its first element can be cut. */
static bool trim_vector(AioIo *io)
{
    struct AioIoState *state = &io->state;

    if (!state->rest) {
        state->rest = malloc(state->iov_count * sizeof(struct iovec));
        if (!state->rest) {
            return false;
        }
        memcpy(state->rest, state->iov, state->iov_count * sizeof(struct iovec));
        state->iov = state->rest;
    }
    struct iovec *first = state->rest + (state->iov - state->rest);
    first->iov_base = (char *)first->iov_base + state->iov_skip;
    first->iov_len -= state->iov_skip;
    state->iov_skip = 0;
    return true;
}

/* What the next kernel call transfers: the rest, or as much as one call can. */
static bool prepare_step(AioIo *io)
{
    struct AioIoState *state = &io->state;

    if (G_LIKELY(state->iov_count <= 1)) {
        uint64_t limit = AIO_IO_STEP_MAX;
        uint64_t left = state->length - state->transferred;
        if (G_UNLIKELY(io->alignment > 1)) {
            limit &= ~(uint64_t)(io->alignment - 1);
        }
        state->step_single.iov_base =
            state->iov_count ? (char *)state->iov->iov_base + state->iov_skip : NULL;
        state->step_single.iov_len = left < limit ? left : limit;
        state->step_iov = &state->step_single;
        state->step_iov_count = 1;
        return true;
    }
    if (state->iov_skip > 0 && !trim_vector(io)) {
        return false;
    }
    state->step_iov = state->iov;
    state->step_iov_count = state->iov_count < IOV_MAX ? state->iov_count : IOV_MAX;
    return true;
}

static void issue_step(AioIo *io)
{
    AioIoEngine *engine = io->state.engine;

    if (is_transfer(io->state.step_op) && !prepare_step(io)) {
        aio_io_answer_later(io, -ENOMEM);
        return;
    }
    if (G_UNLIKELY(engine->faults_on) && aio_io_fault_issue(io)) {
        return;
    }
    if (G_LIKELY(engine->ring_ops & (1u << io->state.step_op))) {
        aio_io_ring_issue(io);
    } else {
        aio_io_pool_issue(io);
    }
}

static void retry_timer_fired(AioTimer *timer)
{
    issue_step(aio_container_of(timer, AioIo, state.timer));
}

static void retry_step(AioIo *io)
{
    struct AioIoState *state = &io->state;

    state->retries++;
    aio_counter_add(&state->engine->counters->io_retries, 1);
    if (state->retries <= RETRIES_AT_ONCE) {
        issue_step(io);
        return;
    }
    unsigned doubles = state->retries - RETRIES_AT_ONCE - 1;
    int64_t pause =
        doubles < RETRY_PAUSE_DOUBLES ? (int64_t)RETRY_PAUSE_MIN_NS << doubles : RETRY_PAUSE_MAX_NS;
    aio_timer_init(&state->timer, state->engine->ctx, retry_timer_fired);
    aio_timer_arm_after(&state->timer, pause);
}

static void advance_vector(AioIo *io, uint64_t bytes)
{
    struct AioIoState *state = &io->state;

    state->transferred += bytes;
    bytes += state->iov_skip;
    while (state->iov_count > 1 && bytes >= state->iov->iov_len) {
        bytes -= state->iov->iov_len;
        state->iov++;
        state->iov_count--;
    }
    state->iov_skip = (size_t)bytes;
}

/* Neither the end of the transfer nor an error: @bytes of what was asked for. */
static void short_step(AioIo *io, uint64_t bytes)
{
    struct AioIoState *state = &io->state;
    uint64_t usable = bytes;

    if (io->alignment > 1 && !(io->flags & AIO_IO_APPEND)) {
        uint64_t place = (state->transferred + bytes) & ~(uint64_t)(io->alignment - 1);
        usable = place > state->transferred ? place - state->transferred : 0;
    }
    if (usable == 0) {
        state->transferred += bytes;
        state->part_done(io, state->step_op == AIO_IO_READ ? 0 : -ENOSPC);
        return;
    }
    aio_counter_add(&state->engine->counters->io_short, 1);
    advance_vector(io, usable);
    issue_step(io);
}

void aio_io_step_done(AioIo *io, int32_t answer)
{
    struct AioIoState *state = &io->state;

    if (G_UNLIKELY(state->faulted) && aio_io_fault_answer(io, answer)) {
        return;
    }
    if (G_UNLIKELY(answer < 0)) {
        if ((answer == -EINTR || answer == -EAGAIN) && state->retries < AIO_IO_RETRIES_MAX) {
            retry_step(io);
        } else {
            state->part_done(io, answer);
        }
        return;
    }
    state->retries = 0;
    if (!is_transfer(state->step_op)) {
        state->part_done(io, 0);
    } else if (G_LIKELY(state->transferred + (uint64_t)answer >= state->length)) {
        state->transferred = state->length;
        state->part_done(io, 0);
    } else {
        short_step(io, (uint64_t)answer);
    }
}

/* Parts. */

void aio_io_part_start(AioIo *io, int op, const struct iovec *iov, unsigned iov_count,
                       int64_t offset, uint64_t length, void (*part_done)(AioIo *io, int result))
{
    struct AioIoState *state = &io->state;

    state->step_op = op;
    state->part_done = part_done;
    state->offset = offset;
    state->length = length;
    state->transferred = 0;
    state->iov = iov;
    state->iov_count = iov_count;
    state->iov_skip = 0;
    issue_step(io);
}

static void whole_done(AioIo *io, int result)
{
    if (G_UNLIKELY(result < 0)) {
        aio_io_finish(io, result, 0);
    } else if (is_transfer(io->op)) {
        aio_io_finish_transfer(io, io->state.transferred);
    } else {
        aio_io_finish(io, 0, 0);
    }
}

void aio_io_start_whole(AioIo *io)
{
    int64_t offset = io->flags & AIO_IO_APPEND ? 0 : io->offset;
    aio_io_part_start(io, io->op, io->iov, io->iov_count, offset, io->length, whole_done);
}

void aio_io_finish_transfer(AioIo *io, uint64_t transferred)
{
    if (G_UNLIKELY(transferred < io->length) && (io->flags & AIO_IO_ZERO_FILL)) {
        aio_iov_zero(io->iov, io->iov_count, transferred, UINT64_MAX);
        transferred = io->length;
    }
    aio_io_finish(io, 0, transferred);
}

void aio_io_finish(AioIo *io, int result, uint64_t transferred)
{
    AioIoEngine *engine = io->state.engine;

    if (G_UNLIKELY(io->state.rest)) {
        free(io->state.rest);
    }
    if (G_UNLIKELY(io->alignment > 1)) {
        aio_io_direct_end(io);
    }
    if (io->state.submitted_ns != 0 && engine->latency != NULL) {
        aio_histogram_record(
            engine->latency,
            (uint64_t)MAX(aio_context_now(engine->ctx) - io->state.submitted_ns, 0));
    }
    AIO_TRACE3(io_complete, io, result, transferred);
    engine->in_flight--;
    io->result = result;
    io->transferred = transferred;
    io->done(io);
}

/* Requests. */

static void start_fsync(AioIo *io)
{
    /* The kernel's fsync takes a 32-bit length; the whole file includes any range. */
    bool whole = io->length == 0 || io->length > UINT32_MAX;
    aio_io_part_start(io, io->op, NULL, 0, whole ? 0 : io->offset, whole ? 0 : io->length,
                      whole_done);
}

static void start_discard(AioIo *io)
{
    struct statx stx;

    if (statx(io->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0) {
        aio_io_answer_later(io, -errno);
        return;
    }
    int op = S_ISBLK(stx.stx_mode) ? (int)AIO_IO_DISCARD_DEVICE : (int)AIO_IO_DISCARD;
    aio_io_part_start(io, op, NULL, 0, io->offset, io->length, whole_done);
}

static void start(AioIo *io)
{
    switch (io->op) {
    case AIO_IO_READ:
    case AIO_IO_WRITE:
        if (io->alignment > 1) {
            aio_io_direct_start(io);
        } else {
            aio_io_start_whole(io);
        }
        return;
    case AIO_IO_FSYNC:
    case AIO_IO_FDATASYNC:
        start_fsync(io);
        return;
    case AIO_IO_FALLOCATE:
        aio_io_start_whole(io);
        return;
    case AIO_IO_DISCARD:
        start_discard(io);
        return;
    }
    g_error("aio_io_submit: unknown operation %d", (int)io->op);
}

/* 0, or why the kernel need not be asked. */
static int check_range(const AioIo *io)
{
    int64_t end;

    if (io->flags & AIO_IO_APPEND) {
        return io->length > INT64_MAX ? -EOVERFLOW : 0;
    }
    if (io->offset < 0) {
        return -EINVAL; /* -1 would mean the descriptor's own position */
    }
    if (__builtin_add_overflow(io->offset, io->length, &end)) {
        return -EOVERFLOW;
    }
    return 0;
}

void aio_io_submit(AioContext *ctx, AioIo *io, AioIoDoneFn *done)
{
    AioIoEngine *engine = aio_io_engine(ctx);
    struct AioIoState *state = &io->state;

    g_assert(aio_context_is_home(ctx));
    g_assert(io->result != AIO_IO_IN_PROGRESS);
    g_assert((io->alignment & (io->alignment - 1)) == 0);

    io->done = done;
    io->result = AIO_IO_IN_PROGRESS;
    io->transferred = 0;
    state->engine = engine;
    state->step_op = (int)io->op;
    state->part_done = whole_done;
    state->retries = 0;
    state->rest = NULL;
    state->bounce = NULL;
    state->range.tracked = false;
    state->faulted = false;
    state->fault_serial = engine->fault_serial++;
    state->fault_steps = 0;
    state->fault_burst = 0;
    state->submitted_ns = engine->latency != NULL ? aio_context_now(ctx) : 0;
    engine->in_flight++;
    aio_counter_add(&engine->counters->io_requests, 1);

    AIO_TRACE4(io_submit, io, io->op, io->offset, io->length);
    int error = check_range(io);
    if (G_UNLIKELY(error < 0)) {
        aio_io_answer_later(io, error);
        return;
    }
    start(io);
}

void aio_io_set_latency(AioContext *ctx, AioHistogram *histogram)
{
    g_assert(aio_context_is_home(ctx));
    aio_io_engine(ctx)->latency = histogram;
}

static void init_request(AioIo *io, AioIoOp op, int fd, int64_t offset, uint64_t length)
{
    io->op = op;
    io->fd = fd;
    io->flags = 0;
    io->fallocate_mode = 0;
    io->alignment = 0;
    io->offset = offset;
    io->length = length;
    io->iov = NULL;
    io->iov_count = 0;
    io->done = NULL;
    io->result = 0;
    io->transferred = 0;
}

static void init_single(AioIo *io, AioIoOp op, int fd, void *buf, size_t length, int64_t offset)
{
    init_request(io, op, fd, offset, length);
    io->single = (struct iovec){.iov_base = buf, .iov_len = length};
    io->iov = &io->single;
    io->iov_count = 1;
}

static void init_vector(AioIo *io, AioIoOp op, int fd, const struct iovec *iov, unsigned count,
                        int64_t offset)
{
    init_request(io, op, fd, offset, aio_iov_length(iov, count));
    io->iov = iov;
    io->iov_count = count;
}

void aio_io_init_read(AioIo *io, int fd, void *buf, size_t length, int64_t offset)
{
    init_single(io, AIO_IO_READ, fd, buf, length, offset);
}

void aio_io_init_write(AioIo *io, int fd, const void *buf, size_t length, int64_t offset)
{
    init_single(io, AIO_IO_WRITE, fd, (void *)(uintptr_t)buf, length, offset);
}

void aio_io_init_readv(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset)
{
    init_vector(io, AIO_IO_READ, fd, iov, count, offset);
}

void aio_io_init_writev(AioIo *io, int fd, const struct iovec *iov, unsigned count, int64_t offset)
{
    init_vector(io, AIO_IO_WRITE, fd, iov, count, offset);
}

void aio_io_init_fsync(AioIo *io, int fd, bool datasync, int64_t offset, uint64_t length)
{
    init_request(io, datasync ? AIO_IO_FDATASYNC : AIO_IO_FSYNC, fd, offset, length);
}

void aio_io_init_fallocate(AioIo *io, int fd, int mode, int64_t offset, uint64_t length)
{
    init_request(io, AIO_IO_FALLOCATE, fd, offset, length);
    io->fallocate_mode = mode;
}

void aio_io_init_discard(AioIo *io, int fd, int64_t offset, uint64_t length)
{
    init_request(io, AIO_IO_DISCARD, fd, offset, length);
}
