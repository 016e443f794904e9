/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second ring with parameters of its own, driven by a context that it is
 * attached to, which needs no ring itself, or by hand.
 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/batch.h"
#include "aio/context-internal.h"
#include "aio/iothread.h"
#include "aio/ring-internal.h"
#include "ring-util.h"

/* A second ring with other parameters, driven by the context. */
static AioRing *attached_ring_new(AioContext *ctx, const AioRingParams *params)
{
    GError *error = NULL;
    AioRing *ring = aio_ring_new(params, &error);
    g_assert_no_error(error);
    g_assert_cmpint(aio_ring_attach(ring, ctx), ==, 0);
    return ring;
}

static void test_registered_eventfd(void)
{
    AioContext *ctx = test_context_new();
    GError *error = NULL;
    AioRing *ring = aio_ring_new(&(AioRingParams){.entries = 8}, &error);
    g_assert_no_error(error);
    int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpint(aio_ring_register_eventfd(ring, efd), ==, 0);

    Op ops[5] = {0};
    for (int i = 0; i < 5; i++) {
        io_uring_prep_nop(&ops[i].sqe);
        op_add(ring, &ops[i]);
        g_assert_cmpint(aio_ring_submit(ring), ==, 0);
    }
    uint64_t count = 0;
    g_assert_cmpint(read(efd, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 5);
    g_assert_cmpuint(aio_ring_reap(ring, 0), ==, 5);
    aio_ring_dispatch(ring);
    g_assert_true(ops[4].done);
    g_assert_cmpint(aio_ring_unregister_eventfd(ring), ==, 0);
    close(efd);
    aio_ring_free(ring);
    aio_context_free(ctx);
}

/* write, write, drained fsync, write: the fsync is third, the last is last. */
static void test_drain(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = attached_ring_new(ctx, &(AioRingParams){.entries = 8});
    int file = test_temp_file(0, 0);
    Op ops[4] = {0};

    io_uring_prep_write(&ops[0].sqe, file, "a", 1, 0);
    io_uring_prep_write(&ops[1].sqe, file, "b", 1, 4096);
    io_uring_prep_fsync(&ops[2].sqe, file, IORING_FSYNC_DATASYNC);
    ops[2].sqe.flags |= IOSQE_IO_DRAIN;
    io_uring_prep_write(&ops[3].sqe, file, "c", 1, 8192);
    aio_batch_begin(ctx);
    for (int i = 0; i < 4; i++) {
        op_add(ring, &ops[i]);
    }
    aio_batch_end(ctx);
    for (int i = 0; i < 4; i++) {
        test_poll_until(ctx, ops[i].done);
        g_assert_cmpint(ops[i].cqe.res, >=, 0);
    }
    g_assert_cmpuint(ops[2].order, >, ops[0].order);
    g_assert_cmpuint(ops[2].order, >, ops[1].order);
    g_assert_cmpuint(ops[3].order, >, ops[2].order);
    close(file);
    aio_ring_free(ring);
    aio_context_free(ctx);
}

/* The kernel's submission thread falls asleep and is woken by the next submit. */
static void test_sqpoll(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = attached_ring_new(
        ctx, &(AioRingParams){.entries = 8, .flags = AIO_RING_SQPOLL, .sqpoll_idle_ms = 10});
    g_assert_true(aio_ring_setup_flags(ring) & IORING_SETUP_SQPOLL);
    int file = test_temp_file(4096, 0); /* a plain descriptor: E9 is lifted */
    char buf[64];
    for (int i = 0; i < 3; i++) {
        Op op = {0};
        io_uring_prep_read(&op.sqe, file, buf, sizeof(buf), 0);
        op_run(ctx, ring, &op);
        g_assert_cmpint(op.cqe.res, ==, 64);
        /* The test runner's time limit ends a thread that does not fall asleep. */
        while (!(*aio_ring_get_uring(ring)->sq.kflags & IORING_SQ_NEED_WAKEUP)) {
            g_usleep(1000);
        }
    }
    close(file);
    aio_ring_free(ring);
    aio_context_free(ctx);
}

/* Polled completions: only O_DIRECT reads and writes, and nobody tells us. */
static void test_iopoll(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring =
        attached_ring_new(ctx, &(AioRingParams){.entries = 8, .flags = AIO_RING_IOPOLL});
    int file = test_temp_file(8192, 0);
    static _Alignas(4096) char buf[4096];
    Op op = {0};

    io_uring_prep_nop(&op.sqe);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, 0);
    io_uring_prep_read(&op.sqe, file, buf, 64, 0);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, -EOPNOTSUPP);
    io_uring_prep_fsync(&op.sqe, file, 0);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, -EINVAL);
    close(file);

    int direct = test_temp_file(8192, O_DIRECT);
    if (direct >= 0) {
        io_uring_prep_read(&op.sqe, direct, buf, 4096, 0);
        op_run(ctx, ring, &op);
        /* EOPNOTSUPP where the disk's queues cannot be polled. */
        g_assert_true(op.cqe.res == 4096 || op.cqe.res == -EOPNOTSUPP);
        close(direct);
    }
    aio_ring_free(ring);
    aio_context_free(ctx);
}

/* enter submits, waits, or does both; without either nothing is lost. */
static void test_enter_forms(void)
{
    GError *error = NULL;
    AioRing *ring = aio_ring_new(&(AioRingParams){.entries = 8}, &error);
    g_assert_no_error(error);
    Op a = {0}, b = {0};
    io_uring_prep_nop(&a.sqe);
    io_uring_prep_nop(&b.sqe);

    op_add(ring, &a);
    g_assert_cmpint(aio_ring_submit(ring), ==, 0); /* submit only */
    g_assert_cmpuint(aio_ring_in_flight(ring), ==, 1);
    g_assert_cmpint(aio_ring_wait(ring, -1), ==, 1); /* wait only */
    op_add(ring, &b);
    g_assert_cmpint(aio_ring_wait(ring, -1), ==, 1);   /* both */
    g_assert_cmpint(aio_ring_wait(ring, 0), ==, 0);    /* neither */
    g_assert_cmpint(aio_ring_wait(ring, 1000), ==, 0); /* a time limit */
    g_assert_true(aio_ring_dispatch(ring));
    g_assert_true(a.done && b.done);
    aio_ring_free(ring);
}

static void move_use(void *opaque)
{
    AioRing **ring = opaque;
    GError *error = NULL;
    AioContext *ctx = aio_context_current();
    *ring = aio_ring_new(&(AioRingParams){.entries = 8}, &error);
    g_assert_no_error(error);
    g_assert_cmpint(aio_ring_attach(*ring, ctx), ==, 0);
    Op op = {0};
    io_uring_prep_nop(&op.sqe);
    op_run(ctx, *ring, &op);
    aio_ring_detach(*ring);
    /* Detached and attached again: works. */
    g_assert_cmpint(aio_ring_attach(*ring, ctx), ==, 0);
    op_run(ctx, *ring, &op);
    g_assert_cmpint(op.cqe.res, ==, 0);
    aio_ring_free(*ring);
}

static void test_attach_detach(void)
{
    AioContextParams params;
    test_context_params(&params);
    AioRing *ring;
    for (int i = 0; i < 2; i++) {
        AioIoThread *thread = aio_iothread_new(&params, -1, NULL);
        aio_iothread_call(thread, move_use, &ring);
        aio_iothread_free(thread);
    }
}

/* An attached ring is polled: its completions cost the loop no system call. */
static void test_attached_ring_is_polled(void)
{
    AioContext *ctx = test_context_new();
    AioPollParams poll;
    aio_poll_params_init(&poll);
    poll.max_ns = 1000000000;
    poll.insist = true;
    AioRing *ring = attached_ring_new(ctx, &(AioRingParams){.entries = 8});
    Op op = {0};
    io_uring_prep_nop(&op.sqe);
    op_run(ctx, ring, &op); /* enrols the handler */
    aio_context_set_poll_params(ctx, &poll);
    op_run(ctx, ring, &op);
    ctx->poll_ns = poll.max_ns;

    AioStats before, after;
    aio_context_get_stats(ctx, &before);
    op_add(ring, &op); /* outside a section: submitted at once */
    test_poll_until(ctx, op.done);
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.poll_hits - before.poll_hits, ==, 1);
    g_assert_cmpuint(after.blocking_waits - before.blocking_waits, ==, 0);
    aio_ring_free(ring);
    aio_context_free(ctx);
}

static void test_sqe128(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring =
        attached_ring_new(ctx, &(AioRingParams){.entries = 4, .flags = AIO_RING_SQE128});
    Op ops[20] = {0};
    for (int i = 0; i < 20; i++) {
        io_uring_prep_nop(&ops[i].sqe);
        op_add(ring, &ops[i]);
    }
    for (int i = 0; i < 20; i++) {
        test_poll_until(ctx, ops[i].done);
        g_assert_cmpint(ops[i].cqe.res, ==, 0);
    }
    aio_ring_free(ring);
    aio_context_free(ctx);
}

/* Where the kernel has them, which is every kernel that runs these tests so far. */
static void test_try_sqe128(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring =
        attached_ring_new(ctx, &(AioRingParams){.entries = 4, .flags = AIO_RING_TRY_SQE128});
    Op op = {0};

    io_uring_prep_nop(&op.sqe);
    op_add(ring, &op);
    test_poll_until(ctx, op.done);
    g_assert_cmpint(op.cqe.res, ==, 0);
    g_assert_cmpuint(aio_ring_setup_flags(ring) & IORING_SETUP_SQE128, !=, 0);
    aio_ring_free(ring);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/ring-features/A26-A27-attach-detach", test_attach_detach);
    g_test_add_func("/ring-features/A26-attached-ring-is-polled", test_attached_ring_is_polled);
    g_test_add_func("/ring-features/E6-drain", test_drain);
    g_test_add_func("/ring-features/E8-E9-sqpoll", test_sqpoll);
    g_test_add_func("/ring-features/E13-iopoll", test_iopoll);
    if (test_monitor_kind() == AIO_MONITOR_EPOLL || test_monitor_kind() == AIO_MONITOR_POLL) {
        return g_test_run();
    }
    g_test_add_func("/ring-features/E5-registered-eventfd", test_registered_eventfd);
    g_test_add_func("/ring-features/E16-enter-forms", test_enter_forms);
    g_test_add_func("/ring-features/sqe128", test_sqe128);
    g_test_add_func("/ring-features/try-sqe128", test_try_sqe128);
    return g_test_run();
}
