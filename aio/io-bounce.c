/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Direct I/O on memory, offsets and lengths that are not aligned.
 *
 * How it works: one aligned buffer covers the request, widened to whole
 * blocks ("block" is io->alignment bytes).
 *
 *     file     |........|........|........|........|
 *     request       [==================]
 *     bounce   [--------+--------+--------]
 *               ^ head                  ^ tail
 *
 * A read fills the buffer and copies out what was asked for. A write whose
 * edges are aligned copies in and writes. Otherwise it first reads the blocks
 * at its edges, so that it writes their other bytes back unchanged. If the
 * file ends in the last block, the write leaves the file too long and a helper
 * cuts off the padding.
 *
 * The bytes written back must not have changed meanwhile. So all writes with
 * an alignment are kept in the order in which they came; a write with unaligned
 * edges is exclusive in its blocks: it waits for every earlier write that
 * overlaps, and later ones wait for it. As long as it may have to cut off
 * padding it is exclusive up to the end of the file. While there is no
 * exclusive write, nothing is compared: an aligned write costs a list insertion
 * and a removal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aio/buffer.h"
#include "aio/io-internal.h"
#include "aio/iov.h"

static int64_t align_down(const AioIo *io, int64_t value)
{
    return value & ~((int64_t)io->alignment - 1);
}

/* Bytes of the first and of the last block that are not the request's. */
static size_t head_bytes(const AioIo *io)
{
    return (size_t)(io->offset - io->state.bounce_offset);
}

static size_t tail_bytes(const AioIo *io)
{
    return (size_t)(-(uint64_t)(io->offset + (int64_t)io->length) & (io->alignment - 1));
}

static int64_t bounce_end(const AioIo *io)
{
    return io->state.bounce_offset + (int64_t)io->state.bounce_iov.iov_len;
}

static void bounce_free(AioIo *io)
{
    free(io->state.bounce);
    io->state.bounce = NULL;
}

/* 0 or negative errno. */
static int bounce_alloc(AioIo *io)
{
    struct AioIoState *state = &io->state;
    int64_t offset = io->flags & AIO_IO_APPEND ? 0 : io->offset;
    int64_t start = align_down(io, offset);
    int64_t end = offset + (int64_t)io->length;

    if (__builtin_add_overflow(end, (int64_t)io->alignment - 1, &end)) {
        return -EOVERFLOW;
    }
    end = align_down(io, end);

    size_t size = (size_t)(end - start);
    state->bounce = aio_buffer_alloc_aligned(io->alignment, size);
    if (!state->bounce) {
        return -ENOMEM;
    }
    state->bounce_iov = (struct iovec){.iov_base = state->bounce, .iov_len = size};
    state->bounce_offset = start;
    state->bounce_trim_to = -1;
    aio_counter_add(&state->engine->counters->io_bounced, 1);
    return 0;
}

/* Reads. */

static void bounced_read_done(AioIo *io, int result)
{
    if (result < 0) {
        aio_io_finish(io, result, 0);
        return;
    }
    uint64_t head = head_bytes(io);
    uint64_t got = io->state.transferred > head ? io->state.transferred - head : 0;
    if (got > io->length) {
        got = io->length;
    }
    aio_iov_from_buf(io->iov, io->iov_count, 0, (char *)io->state.bounce + head, got);
    aio_io_finish_transfer(io, got);
}

static void start_bounced_read(AioIo *io)
{
    int error = bounce_alloc(io);
    if (error < 0) {
        aio_io_answer_later(io, error);
        return;
    }
    aio_io_part_start(io, AIO_IO_READ, &io->state.bounce_iov, 1, io->state.bounce_offset,
                      io->state.bounce_iov.iov_len, bounced_read_done);
}

/* Who waits for whom. */

static bool ranges_conflict(const AioIo *a, const AioIo *b)
{
    return a->fd == b->fd && (a->state.range.exclusive || b->state.range.exclusive) &&
           a->state.range.start < b->state.range.end && b->state.range.start < a->state.range.end;
}

static bool must_wait(const AioIo *io)
{
    if (io->state.engine->ranges_exclusive == 0) {
        return false;
    }
    for (const AioIo *earlier = io->state.range.prev; earlier;
         earlier = earlier->state.range.prev) {
        if (ranges_conflict(earlier, io)) {
            return true;
        }
    }
    return false;
}

static void start_write(AioIo *io);

static void start_waiting(AioIoEngine *engine)
{
    for (AioIo *io = engine->ranges_first; io && engine->ranges_waiting > 0;
         io = io->state.range.next) {
        if (io->state.range.waiting && !must_wait(io)) {
            io->state.range.waiting = false;
            engine->ranges_waiting--;
            start_write(io);
        }
    }
}

static void range_add(AioIo *io, int64_t start, int64_t end, bool exclusive)
{
    AioIoEngine *engine = io->state.engine;

    io->state.range.start = start;
    io->state.range.end = end;
    io->state.range.exclusive = exclusive;
    io->state.range.tracked = true;
    io->state.range.next = NULL;
    io->state.range.prev = engine->ranges_last;
    if (engine->ranges_last) {
        engine->ranges_last->state.range.next = io;
    } else {
        engine->ranges_first = io;
    }
    engine->ranges_last = io;
    engine->ranges_exclusive += exclusive;

    io->state.range.waiting = must_wait(io);
    engine->ranges_waiting += io->state.range.waiting;
}

static void range_remove(AioIo *io)
{
    AioIoEngine *engine = io->state.engine;
    AioIo *next = io->state.range.next, *prev = io->state.range.prev;

    *(prev ? &prev->state.range.next : &engine->ranges_first) = next;
    *(next ? &next->state.range.prev : &engine->ranges_last) = prev;
    engine->ranges_exclusive -= io->state.range.exclusive;
    io->state.range.tracked = false;
    if (engine->ranges_waiting > 0) {
        start_waiting(engine);
    }
}

static void range_shrink(AioIo *io, int64_t end)
{
    io->state.range.end = end;
    if (io->state.engine->ranges_waiting > 0) {
        start_waiting(io->state.engine);
    }
}

/* Writes. */

static void trim_done(AioIo *io, int result)
{
    if (result < 0) {
        aio_io_finish(io, result, 0);
    } else {
        aio_io_finish_transfer(io, io->length);
    }
}

static void bounced_write_done(AioIo *io, int result)
{
    if (result < 0) {
        aio_io_finish(io, result, 0);
    } else if (io->state.bounce_trim_to >= 0) {
        aio_io_part_start(io, AIO_IO_TRIM, NULL, 0, io->state.bounce_trim_to,
                          (uint64_t)bounce_end(io), trim_done);
    } else {
        aio_io_finish_transfer(io, io->length);
    }
}

static void write_bounce(AioIo *io)
{
    aio_iov_to_buf(io->iov, io->iov_count, (char *)io->state.bounce + head_bytes(io));
    aio_io_part_start(io, AIO_IO_WRITE, &io->state.bounce_iov, 1, io->state.bounce_offset,
                      io->state.bounce_iov.iov_len, bounced_write_done);
}

/* Read one block of the file into its place in the copy. */
static void read_block(AioIo *io, int64_t offset, void (*part_done)(AioIo *io, int result))
{
    struct AioIoState *state = &io->state;

    /* step_single is rewritten by every step, so it can carry the block's address in. */
    state->step_single = (struct iovec){
        .iov_base = (char *)state->bounce + (offset - state->bounce_offset),
        .iov_len = io->alignment,
    };
    aio_io_part_start(io, AIO_IO_READ, &state->step_single, 1, offset, io->alignment, part_done);
}

/* What lies past the end of the file reads as zeros. Returns the bytes that exist. */
static size_t zero_missing(AioIo *io, int64_t offset)
{
    size_t got = (size_t)io->state.transferred;
    char *block = (char *)io->state.bounce + (offset - io->state.bounce_offset);
    memset(block + got, 0, io->alignment - got);
    return got;
}

static void tail_read_done(AioIo *io, int result)
{
    if (result < 0) {
        aio_io_finish(io, result, 0);
        return;
    }
    int64_t block = bounce_end(io) - io->alignment;
    size_t got = zero_missing(io, block);
    int64_t file_end = block + (int64_t)got;
    int64_t write_end = io->offset + (int64_t)io->length;
    if (got < io->alignment) {
        io->state.bounce_trim_to = file_end > write_end ? file_end : write_end;
    } else {
        range_shrink(io, bounce_end(io));
    }
    write_bounce(io);
}

static void head_read_done(AioIo *io, int result)
{
    if (result < 0) {
        aio_io_finish(io, result, 0);
        return;
    }
    zero_missing(io, io->state.bounce_offset);
    if (tail_bytes(io) > 0) {
        read_block(io, bounce_end(io) - io->alignment, tail_read_done);
    } else {
        write_bounce(io);
    }
}

static void start_write(AioIo *io)
{
    if (!io->state.bounce) {
        aio_io_start_whole(io);
        return;
    }
    bool one_block = io->state.bounce_iov.iov_len <= io->alignment;
    if (io->flags & AIO_IO_APPEND) {
        aio_iov_to_buf(io->iov, io->iov_count, io->state.bounce);
        aio_io_part_start(io, AIO_IO_WRITE, &io->state.bounce_iov, 1, 0, io->length,
                          bounced_write_done);
    } else if (head_bytes(io) > 0 && !(one_block && tail_bytes(io) > 0)) {
        read_block(io, io->state.bounce_offset, head_read_done);
    } else if (tail_bytes(io) > 0) {
        read_block(io, bounce_end(io) - io->alignment, tail_read_done);
    } else {
        write_bounce(io);
    }
}

static void start_direct_write(AioIo *io, bool aligned_memory, bool aligned_range)
{
    bool append = io->flags & AIO_IO_APPEND;

    if (append && !aligned_range) {
        aio_io_answer_later(io, -EINVAL);
        return;
    }
    int error = aligned_memory && aligned_range ? 0 : bounce_alloc(io);
    if (error < 0) {
        aio_io_answer_later(io, error);
        return;
    }
    if (append) {
        range_add(io, INT64_MAX - 1, INT64_MAX, false);
    } else if (aligned_range) {
        range_add(io, io->offset, io->offset + (int64_t)io->length, false);
    } else {
        bool tail = tail_bytes(io) > 0;
        range_add(io, io->state.bounce_offset, tail ? INT64_MAX : bounce_end(io), true);
    }
    if (!io->state.range.waiting) {
        start_write(io);
    }
}

void aio_io_direct_start(AioIo *io)
{
    if (io->length == 0) {
        aio_io_start_whole(io); /* touches no block, so none is to be read or trimmed */
        return;
    }
    uint64_t misaligned = io->length & (io->alignment - 1);
    if (!(io->flags & AIO_IO_APPEND)) {
        misaligned |= (uint64_t)io->offset & (io->alignment - 1);
    }
    bool aligned_range = misaligned == 0;
    bool aligned_memory = aio_iov_is_aligned(io->iov, io->iov_count, io->alignment);

    if (io->op == AIO_IO_WRITE) {
        start_direct_write(io, aligned_memory, aligned_range);
    } else if (aligned_memory && aligned_range) {
        aio_io_start_whole(io);
    } else {
        start_bounced_read(io);
    }
}

void aio_io_direct_end(AioIo *io)
{
    if (io->state.bounce) {
        bounce_free(io);
    }
    if (io->state.range.tracked) {
        range_remove(io);
    }
}
