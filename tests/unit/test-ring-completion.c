/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Completions on the context's ring (aio/ring.c): what a callback gets and may do, cancelling. */
#include "util.h"

#include <errno.h>
#include <unistd.h>

#include "aio/ring-internal.h"
#include "ring-util.h"

typedef struct ReadFlags {
    CqeHandler cqe;
    int fd;
    char buf[64];
    bool done;
} ReadFlags;

static void prepare_read(struct io_uring_sqe *sqe, void *opaque)
{
    ReadFlags *r = opaque;
    io_uring_prep_read(sqe, r->fd, r->buf, sizeof(r->buf), 0);
}

static void read_done(CqeHandler *handler)
{
    aio_container_of(handler, ReadFlags, cqe)->done = true;
}

/* Result and flags are in the handler, which is all that the callback gets. */
static void test_result_and_flags_in_handler(void)
{
    AioContext *ctx = small_context_new(8, 0);
    int fd = test_temp_file(5, 0);
    ReadFlags r = {.cqe.callback = read_done, .fd = fd, .cqe.res = 77, .cqe.flags = 77};
    aio_ring_add(aio_context_ring(ctx), prepare_read, &r, &r.cqe);
    g_assert_false(r.done); /* never from inside the submission */
    test_poll_until(ctx, r.done);
    g_assert_cmpint(r.cqe.res, ==, 5);
    g_assert_cmpuint(r.cqe.flags & IORING_CQE_F_MORE, ==, 0);
    close(fd);
    aio_context_free(ctx);
}

/* A cached read is complete when the one enter that submitted it returns. */
static void test_cached_read_needs_one_enter(void)
{
    AioContext *ctx = small_context_new(8, 0);
    int fd = test_temp_file(64, 0);
    char buf[64];
    g_assert_cmpint(pread(fd, buf, sizeof(buf), 0), ==, 64);
    while (aio_context_poll(ctx, false)) {
    }
    for (int i = 0; i < 100; i++) {
        AioStats before, after;
        ReadFlags r = {.cqe.callback = read_done, .fd = fd};
        aio_context_get_stats(ctx, &before);
        aio_ring_add(aio_context_ring(ctx), prepare_read, &r, &r.cqe);
        aio_context_poll(ctx, true);
        g_assert_true(r.done);
        aio_context_get_stats(ctx, &after);
        g_assert_cmpuint(after.enters - before.enters, ==, 1);
    }
    close(fd);
    aio_context_free(ctx);
}

typedef struct Chain {
    CqeHandler cqe;
    AioContext *ctx;
    unsigned left;
    bool nest;
    bool other_done;
} Chain;

static void chain_step(CqeHandler *handler)
{
    Chain *chain = aio_container_of(handler, Chain, cqe);
    if (chain->left > 0) {
        chain->left--;
        aio_ring_add(aio_context_ring(chain->ctx), prepare_nop, NULL, handler);
    }
}

/* A callback adds to a full ring and reuses its own handler. */
static void test_callback_reuses_handler(void)
{
    AioContext *ctx = small_context_new(4, 4);
    Chain chains[16] = {0};
    for (int i = 0; i < 16; i++) {
        chains[i] = (Chain){.cqe.callback = chain_step, .ctx = ctx, .left = 100};
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &chains[i].cqe);
    }
    for (int i = 0; i < 16; i++) {
        test_poll_until(ctx, chains[i].left == 0 && !chains[i].cqe.busy);
    }
    assert_quiescent(aio_context_ring(ctx));
    aio_context_free(ctx);
}

static void chain_nest(CqeHandler *handler)
{
    Chain *chain = aio_container_of(handler, Chain, cqe);
    unsigned done = 0;
    Nop *nop = nops_new(1, &done, NULL);
    aio_ring_add(aio_context_ring(chain->ctx), prepare_nop, NULL, &nop->cqe);
    test_poll_until(chain->ctx, done == 1);
    g_free(nop);
    chain->other_done = true;
}

static void test_callback_nests(void)
{
    AioContext *ctx = small_context_new(8, 0);
    Chain chain = {.cqe.callback = chain_nest, .ctx = ctx};
    aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &chain.cqe);
    test_poll_until(ctx, chain.other_done);
    aio_context_free(ctx);
}

static void prepare_cancel_nothing(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_cancel(sqe, (void *)(uintptr_t)0x1234, 0);
}

/* Completions without a handler, such as that of a cancel, call nobody. */
static void test_untagged_completions(void)
{
    AioContext *ctx = small_context_new(8, 0);
    AioRing *ring = aio_context_ring(ctx);
    for (int i = 0; i < 20; i++) {
        aio_ring_add(ring, prepare_cancel_nothing, NULL, NULL);
    }
    while (aio_ring_queued(ring) > 0) {
        g_assert_false(aio_context_poll(ctx, false)); /* C17: no progress */
    }
    assert_quiescent(ring);
    aio_context_free(ctx);
}

typedef struct PipeRead {
    CqeHandler cqe;
    int fd;
    char byte;
    bool done;
} PipeRead;

static void prepare_pipe_read(struct io_uring_sqe *sqe, void *opaque)
{
    PipeRead *r = opaque;
    io_uring_prep_read(sqe, r->fd, &r->byte, 1, 0);
}

static void pipe_read_done(CqeHandler *handler)
{
    aio_container_of(handler, PipeRead, cqe)->done = true;
}

/* A read of a new pipe, which the kernel has and cannot complete yet. */
static void pipe_read_begin(PipeRead *r, AioContext *ctx, int fds[2])
{
    g_assert_cmpint(pipe(fds), ==, 0);
    *r = (PipeRead){.cqe.callback = pipe_read_done, .fd = fds[0]};
    aio_ring_add(aio_context_ring(ctx), prepare_pipe_read, r, &r->cqe);
    aio_context_poll(ctx, false);
}

static void test_cancel(void)
{
    AioContext *ctx = small_context_new(8, 0);
    int fds[2];
    PipeRead r;
    pipe_read_begin(&r, ctx, fds);
    g_assert_false(r.done);
    aio_ring_cancel(aio_context_ring(ctx), &r.cqe, NULL);
    test_poll_until(ctx, r.done);
    g_assert_cmpint(r.cqe.res, ==, -ECANCELED);
    close(fds[0]);
    close(fds[1]);
    aio_context_free(ctx);
}

static gpointer write_later(gpointer fd)
{
    g_usleep(20000);
    g_assert_cmpint(write(GPOINTER_TO_INT(fd), "x", 1), ==, 1);
    return NULL;
}

/* Freeing a context waits for what is in flight and runs its callback. */
static void test_free_drains(void)
{
    AioContext *ctx = small_context_new(8, 0);
    int fds[2];
    PipeRead r;
    pipe_read_begin(&r, ctx, fds);
    unsigned done = 0;
    Nop *nops = nops_new(3, &done, NULL);
    for (int i = 0; i < 3; i++) {
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[i].cqe);
    }
    GThread *writer = g_thread_new("writer", write_later, GINT_TO_POINTER(fds[1]));
    aio_context_free(ctx);
    g_assert_true(r.done);
    g_assert_cmpuint(done, ==, 3);
    g_thread_join(writer);
    close(fds[0]);
    close(fds[1]);
    g_free(nops);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/ring/C4-C5-C6-result-and-flags-in-handler", test_result_and_flags_in_handler);
    g_test_add_func("/ring/A12-E17-cached-read-needs-one-enter", test_cached_read_needs_one_enter);
    g_test_add_func("/ring/A14-C10-callback-reuses-handler", test_callback_reuses_handler);
    g_test_add_func("/ring/C10-callback-nests", test_callback_nests);
    g_test_add_func("/ring/C11-C17-untagged-completions", test_untagged_completions);
    g_test_add_func("/ring/cancel", test_cancel);
    g_test_add_func("/ring/C14-free-drains", test_free_drains);
    return g_test_run();
}
