/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all block nodes have in common: see node.h. */
#include "fs/block/node.h"

#include <errno.h>

#include "aio/coroutine.h"
#include "aio/iov.h"

void block_node_init(BlockNode *node, const BlockDriver *driver, const char *name, int64_t size,
                     bool read_only)
{
    node->driver = driver;
    node->size = size;
    node->read_only = read_only;
    node->name = g_strdup(name);
    atomic_store(&node->references, 1);
}

BlockNode *block_node_ref(BlockNode *node)
{
    atomic_fetch_add_explicit(&node->references, 1, memory_order_relaxed);
    return node;
}

void block_node_unref(BlockNode *node)
{
    char *name;

    if (node == NULL || atomic_fetch_sub_explicit(&node->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    name = node->name;
    node->driver->close(node);
    g_free(name);
}

int block_node_fd(const BlockNode *node)
{
    return node->driver->fd == NULL ? -1 : node->driver->fd(node);
}

static void init_request(BlockRequest *request, BlockOp op, uint64_t length, int64_t offset)
{
    request->op = op;
    request->flags = 0;
    request->offset = offset;
    request->length = length;
    request->done = NULL;
    request->opaque = NULL;
    request->result = 0;
    request->status = 0;
    request->run = 0;
}

void block_request_init(BlockRequest *request, BlockOp op, void *buffer, uint64_t length,
                        int64_t offset)
{
    init_request(request, op, length, offset);
    request->single = (struct iovec){.iov_base = buffer, .iov_len = length};
    request->iov = &request->single;
    request->iov_count = 1;
}

void block_request_init_vector(BlockRequest *request, BlockOp op, const struct iovec *iov,
                               unsigned iov_count, int64_t offset)
{
    init_request(request, op, aio_iov_length(iov, iov_count), offset);
    request->iov = iov;
    request->iov_count = iov_count;
}

/* 0, or why the driver must not see the request. */
static int check(const BlockNode *node, const BlockRequest *request)
{
    const bool changes = request->op == BLOCK_WRITE || request->op == BLOCK_DISCARD ||
                         request->op == BLOCK_ZERO || request->op == BLOCK_GROW;
    int64_t end;

    if (changes && node->read_only) {
        return -EROFS;
    }
    if (request->op == BLOCK_FLUSH) {
        return 0;
    }
    if (request->op == BLOCK_GROW) {
        return request->offset < node->size ? -EINVAL : 0;
    }
    if (request->offset < 0 || __builtin_add_overflow(request->offset, request->length, &end)) {
        return -EINVAL;
    }
    if (end > node->size) {
        return changes ? -ENOSPC : -EINVAL;
    }
    return 0;
}

void block_complete(BlockRequest *request, int result)
{
    request->result = result;
    request->done(request);
}

void block_forward(BlockNode *below, BlockRequest *request)
{
    request->node = below;
    below->driver->submit(below, request);
}

void block_submit(BlockNode *node, BlockRequest *request, BlockDoneFn *done)
{
    int error = check(node, request);

    request->done = done;
    if (error < 0 ||
        (request->length == 0 && request->op != BLOCK_FLUSH && request->op != BLOCK_GROW)) {
        block_complete(request, error);
        return;
    }
    block_forward(node, request);
}

/* --- in a coroutine --- */

typedef struct Waiter {
    AioCoroutine *co;
    bool done;
} Waiter;

static void wake_waiter(BlockRequest *request)
{
    Waiter *waiter = request->opaque;

    waiter->done = true;
    aio_co_wake(waiter->co);
}

int block_co_run(BlockNode *node, BlockRequest *request)
{
    Waiter waiter = {.co = aio_co_self()};

    request->opaque = &waiter;
    block_submit(node, request, wake_waiter);
    while (!waiter.done) {
        aio_co_yield();
    }
    return request->result;
}

int block_co_read(BlockNode *node, void *buffer, uint64_t length, int64_t offset)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_READ, buffer, length, offset);
    return block_co_run(node, &request);
}

int block_co_write(BlockNode *node, const void *buffer, uint64_t length, int64_t offset,
                   unsigned flags)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_WRITE, (void *)(uintptr_t)buffer, length, offset);
    request.flags = flags;
    return block_co_run(node, &request);
}

int block_co_flush(BlockNode *node)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_FLUSH, NULL, 0, 0);
    return block_co_run(node, &request);
}

/* --- while a node is being opened or closed --- */

typedef struct Now {
    void (*function)(void *opaque);
    void *opaque;
    bool done;
} Now;

static void run_function(void *opaque)
{
    Now *now = opaque;

    now->function(now->opaque);
    now->done = true;
}

int block_co_now(void (*function)(void *opaque), void *opaque)
{
    AioContext *ctx = aio_context_current(), *own = NULL;
    Now now = {.function = function, .opaque = opaque};
    AioCoroutine *co;

    if (ctx == NULL) {
        g_autoptr(GError) error = NULL;
        AioContextParams params;

        aio_context_params_init(&params);
        params.name = "open";
        own = ctx = aio_context_new(&params, &error);
        if (ctx == NULL) {
            return error->code > 0 ? -error->code : -ENOMEM;
        }
    }
    co = aio_co_new(run_function, &now);
    if (co != NULL) {
        aio_co_enter(co);
        while (!now.done) {
            aio_context_poll(ctx, true);
        }
    }
    if (own != NULL) {
        aio_context_free(own);
    }
    return co != NULL ? 0 : -ENOMEM;
}

typedef struct RunNow {
    BlockNode *node;
    BlockRequest *request;
} RunNow;

static void run_request(void *opaque)
{
    RunNow *run = opaque;

    block_co_run(run->node, run->request);
}

int block_run_now(BlockNode *node, BlockRequest *request)
{
    RunNow run = {.node = node, .request = request};
    const int result = block_co_now(run_request, &run);

    return result < 0 ? result : request->result;
}

int block_read_now(BlockNode *node, void *buffer, size_t length, int64_t offset)
{
    BlockRequest request;
    int64_t end;

    if (offset < 0 || __builtin_add_overflow(offset, length, &end) || end > node->size) {
        return -EINVAL;
    }
    if (node->driver->read_now != NULL) {
        return node->driver->read_now(node, buffer, length, offset);
    }
    block_request_init(&request, BLOCK_READ, buffer, length, offset);
    return block_run_now(node, &request);
}

int block_flush_now(BlockNode *node)
{
    BlockRequest request;

    block_request_init(&request, BLOCK_FLUSH, NULL, 0, 0);
    return block_run_now(node, &request);
}
