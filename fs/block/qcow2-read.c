/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading what is not one run of data.
 *
 * How it works: a coroutine goes through the runs. Those of data and of the
 * backing file become requests of their own (Piece), which are under way all at
 * once; zeros are made in place; a compressed cluster is read by the coroutine and decompressed
 * on a helper thread. When everything is there the request is done, with the first
 * error if there was one.
 */
#include <errno.h>

#include "aio/coroutine.h"
#include "aio/iov.h"
#include "fs/block/decompress.h"
#include "fs/block/qcow2-internal.h"

typedef struct Piece Piece;

typedef struct Read {
    BlockQcow2 *qcow2;
    BlockRequest *request;
    AioCoroutine *co;
    Piece *pieces;
    unsigned pending;
    int result; /* 0 or the first error */
} Read;

/* A run that is read by a request of its own. */
struct Piece {
    BlockRequest request;
    Read *read;
    Piece *next;
    struct iovec iov[];
};

static void note_result(Read *read, int result)
{
    if (result < 0 && read->result == 0) {
        read->result = result;
    }
}

static void piece_done(BlockRequest *request)
{
    Piece *piece = request->opaque;
    Read *read = piece->read;

    note_result(read, request->result);
    read->pending--;
    if (read->co != NULL && read->pending == 0) {
        aio_co_wake(read->co);
    }
}

/* Read @length bytes of @node at @offset to the place @skip of the request's vector. */
static void start_piece(Read *read, BlockNode *node, uint64_t offset, uint64_t skip,
                        uint64_t length)
{
    const BlockRequest *whole = read->request;
    Piece *piece = g_try_malloc(sizeof(*piece) + whole->iov_count * sizeof(struct iovec));
    unsigned count;

    if (piece == NULL) {
        note_result(read, -ENOMEM);
        return;
    }
    piece->read = read;
    piece->next = read->pieces;
    read->pieces = piece;
    count = aio_iov_slice(whole->iov, whole->iov_count, skip, length, piece->iov);
    block_request_init_vector(&piece->request, BLOCK_READ, piece->iov, count, (int64_t)offset);
    piece->request.opaque = piece;
    read->pending++;
    block_submit(node, &piece->request, piece_done);
}

/* The backing file may be shorter than the disk: behind its end there are zeros. */
static void read_below(Read *read, uint64_t offset, uint64_t skip, uint64_t length)
{
    BlockNode *backing = read->qcow2->backing;
    uint64_t there = 0;

    if (backing != NULL && offset < (uint64_t)backing->size) {
        there = MIN(length, (uint64_t)backing->size - offset);
        start_piece(read, backing, offset, skip, there);
    }
    aio_iov_zero(read->request->iov, read->request->iov_count, skip + there, length - there);
}

/* --- compressed clusters --- */

typedef struct Decompress {
    AioPoolWork work;
    AioCoroutine *co;
    const void *in;
    void *out;
    size_t in_length, length;
    int zstd, result;
    bool done;
} Decompress;

static void decompress_run(AioPoolWork *work)
{
    Decompress *job = aio_container_of(work, Decompress, work);

    job->result = block_decompress(job->zstd, job->in, job->in_length, job->out, job->length);
}

static void decompress_done(AioPoolWork *work)
{
    Decompress *job = aio_container_of(work, Decompress, work);

    job->done = true;
    aio_co_wake(job->co);
}

static int decompress(const BlockQcow2 *qcow2, const void *in, size_t in_length, void *out)
{
    Decompress job = {
        .work = {.run = decompress_run, .done = decompress_done, .ctx = aio_context_current()},
        .co = aio_co_self(),
        .in = in,
        .in_length = in_length,
        .out = out,
        .length = qcow2_cluster_size(qcow2),
        .zstd = qcow2->header.compression == QCOW2_ZSTD,
    };

    aio_pool_submit(aio_pool_shared(), &job.work);
    while (!job.done) {
        aio_co_yield();
    }
    return job.result;
}

static int read_compressed(Read *read, const Qcow2Run *run, uint64_t inside, uint64_t skip)
{
    const BlockQcow2 *qcow2 = read->qcow2;
    uint64_t offset, length;
    char *in, *out;
    int result;

    if (!block_qcow2_compressed_place(qcow2, run->entry, &offset, &length)) {
        return -EIO;
    }
    in = g_try_malloc(length);
    out = g_try_malloc(qcow2_cluster_size(qcow2));
    result = in == NULL || out == NULL ? -ENOMEM
                                       : block_co_read(qcow2->file, in, length, (int64_t)offset);
    if (result == 0) {
        result = decompress(qcow2, in, length, out);
    }
    if (result == 0) {
        aio_iov_from_buf(read->request->iov, read->request->iov_count, skip, out + inside,
                         run->length);
    }
    g_free(in);
    g_free(out);
    return result;
}

/* --- the coroutine --- */

static void read_run(Read *read, const Qcow2Run *run, uint64_t offset, uint64_t skip)
{
    switch (run->kind) {
    case QCOW2_KIND_DATA:
        start_piece(read, read->qcow2->file, run->host_offset, skip, run->length);
        break;
    case QCOW2_KIND_ZERO:
        aio_iov_zero(read->request->iov, read->request->iov_count, skip, run->length);
        break;
    case QCOW2_KIND_BELOW:
        read_below(read, offset, skip, run->length);
        break;
    case QCOW2_KIND_COMPRESSED:
        note_result(
            read, read_compressed(read, run, offset & (qcow2_cluster_size(read->qcow2) - 1), skip));
        break;
    }
}

static void read_coroutine(void *opaque)
{
    Read read = {.request = opaque};
    const uint64_t begin = (uint64_t)read.request->offset, length = read.request->length;
    uint64_t done = 0;

    read.qcow2 = aio_container_of(read.request->node, BlockQcow2, node);
    while (done < length && read.result == 0) {
        Qcow2Run run;
        int result = block_qcow2_find(read.qcow2, begin + done, length - done, &run);

        if (result == 0) {
            read_run(&read, &run, begin + done, done);
            done += run.length;
        }
        note_result(&read, result);
    }
    read.co = aio_co_self();
    while (read.pending > 0) {
        aio_co_yield();
    }
    while (read.pieces != NULL) {
        Piece *next = read.pieces->next;

        g_free(read.pieces);
        read.pieces = next;
    }
    block_complete(read.request, read.result);
}

void block_qcow2_read_scattered(BlockQcow2 *qcow2, BlockRequest *request)
{
    AioCoroutine *co;

    request->node = &qcow2->node;
    co = aio_co_new(read_coroutine, request);
    if (co == NULL) {
        block_complete(request, -errno);
        return;
    }
    aio_co_enter(co);
}

/* --- status --- */

static void answer_status(BlockQcow2 *qcow2, BlockRequest *request, const Qcow2Run *run)
{
    const uint64_t offset = (uint64_t)request->offset;

    request->run = run->length;
    request->status = run->kind == QCOW2_KIND_ZERO    ? BLOCK_STATUS_ALLOCATED
                      : run->kind != QCOW2_KIND_BELOW ? BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED
                                                      : 0;
    if (run->kind == QCOW2_KIND_BELOW && qcow2->backing != NULL &&
        offset < (uint64_t)qcow2->backing->size) {
        request->length = MIN(run->length, (uint64_t)qcow2->backing->size - offset);
        block_forward(qcow2->backing, request);
        return;
    }
    if (run->kind == QCOW2_KIND_DATA) {
        /* The file below may have a hole there. */
        request->length = run->length;
        request->offset = (int64_t)run->host_offset;
        block_forward(qcow2->file, request);
        return;
    }
    block_complete(request, 0);
}

static void status_coroutine(void *opaque)
{
    BlockRequest *request = opaque;
    BlockQcow2 *qcow2 = aio_container_of(request->node, BlockQcow2, node);
    const uint64_t offset = (uint64_t)request->offset;
    Qcow2Run run;
    int result = block_qcow2_find(qcow2, offset, request->length, &run);

    if (result < 0) {
        block_complete(request, result);
    } else {
        answer_status(qcow2, request, &run);
    }
}

void block_qcow2_status(BlockQcow2 *qcow2, BlockRequest *request)
{
    AioCoroutine *co;
    Qcow2Run run;
    int result = block_qcow2_map(qcow2, (uint64_t)request->offset, request->length, &run);

    if (result == 0) {
        answer_status(qcow2, request, &run);
        return;
    }
    request->node = &qcow2->node;
    co = aio_co_new(status_coroutine, request);
    if (co == NULL) {
        block_complete(request, -errno);
        return;
    }
    aio_co_enter(co);
}
