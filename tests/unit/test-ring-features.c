/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kinds of requests of io_uring, and what can be registered, on the context's ring. */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aio/handler.h"
#include "aio/iothread.h"
#include "aio/ring-internal.h"
#include "ring-util.h"

static void test_single_mmap(void)
{
    AioRingProbe probe;
    aio_ring_probe(&probe);
    g_assert_true(probe.available);
    g_assert_true(probe.features & IORING_FEAT_SINGLE_MMAP);
    g_assert_true(probe.opcodes >> IORING_OP_READ & 1);
}

static void test_sendmsg_recvmsg(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    int sv[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    char in[8] = "", out[8] = "sluice";
    struct iovec out_iov = {out, 7}, in_iov = {in, sizeof(in)};
    struct msghdr out_msg = {.msg_iov = &out_iov, .msg_iovlen = 1};
    struct msghdr in_msg = {.msg_iov = &in_iov, .msg_iovlen = 1};

    /* Data is there: answered at once. */
    Op send = {0}, recv = {0};
    io_uring_prep_sendmsg(&send.sqe, sv[0], &out_msg, 0);
    op_run(ctx, ring, &send);
    g_assert_cmpint(send.cqe.res, ==, 7);
    io_uring_prep_recvmsg(&recv.sqe, sv[1], &in_msg, 0);
    op_run(ctx, ring, &recv);
    g_assert_cmpint(recv.cqe.res, ==, 7);
    g_assert_cmpstr(in, ==, "sluice");

    /* Data is not there yet: completes when it comes. */
    memset(in, 0, sizeof(in));
    op_add(ring, &recv);
    aio_context_poll(ctx, false);
    g_assert_false(recv.done);
    op_run(ctx, ring, &send);
    test_poll_until(ctx, recv.done);
    g_assert_cmpstr(in, ==, "sluice");
    close(sv[0]);
    close(sv[1]);
    aio_context_free(ctx);
}

/* A chain runs in order and does not hold back other requests. */
static void test_links(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    int file = test_temp_file(0, 0);
    char byte, data[4] = "abc", back[4] = "";
    Op wait = {0}, write_op = {0}, read_op = {0}, other = {0};

    io_uring_prep_read(&wait.sqe, fds[0], &byte, 1, 0);
    wait.sqe.flags |= IOSQE_IO_LINK;
    io_uring_prep_write(&write_op.sqe, file, data, 3, 0);
    write_op.sqe.flags |= IOSQE_IO_LINK;
    io_uring_prep_read(&read_op.sqe, file, back, 3, 0);
    io_uring_prep_nop(&other.sqe);

    aio_ring_reserve(ring, 3);
    op_add(ring, &wait);
    op_add(ring, &write_op);
    op_add(ring, &read_op);
    op_run(ctx, ring, &other);
    g_assert_false(wait.done || write_op.done || read_op.done);
    g_assert_cmpint(write(fds[1], "x", 1), ==, 1);
    test_poll_until(ctx, read_op.done);
    g_assert_cmpuint(wait.order, <, write_op.order);
    g_assert_cmpuint(write_op.order, <, read_op.order);
    g_assert_cmpstr(back, ==, "abc");
    close(file);
    close(fds[0]);
    close(fds[1]);
    aio_context_free(ctx);
}

/* A chain that would not fit into the rest of the SQ still is one chain. */
static void test_reserve_keeps_chains_whole(void)
{
    AioContextParams params;
    test_context_params(&params);
    params.ring.entries = 8;
    params.ring.cq_entries = 8;
    AioContext *ctx = aio_context_new(&params, NULL);
    AioRing *ring = aio_context_ring(ctx);
    int file = test_temp_file(5, 0);
    char buf[64];

    for (int round = 0; round < 50; round++) {
        Op filler[7] = {0}, first = {0}, second = {0};
        unsigned n = (unsigned)round % 8;
        for (unsigned i = 0; i < n; i++) {
            io_uring_prep_nop(&filler[i].sqe);
            op_add(ring, &filler[i]);
        }
        io_uring_prep_read(&first.sqe, file, buf, sizeof(buf), 0);
        first.sqe.flags |= IOSQE_IO_LINK;
        io_uring_prep_nop(&second.sqe);
        aio_ring_reserve(ring, 2);
        op_add(ring, &first);
        op_add(ring, &second);
        test_poll_until(ctx, first.done && second.done);
        /* The short read broke the chain: so it was one. */
        g_assert_cmpint(first.cqe.res, ==, 5);
        g_assert_cmpint(second.cqe.res, ==, -ECANCELED);
        for (unsigned i = 0; i < n; i++) {
            test_poll_until(ctx, filler[i].done);
            g_assert_cmpint(filler[i].cqe.res, ==, 0);
        }
    }
    close(file);
    aio_context_free(ctx);
}

static void test_broken_links(void)
{
    static const struct {
        unsigned flag;
        int second;
    } cases[] = {{IOSQE_IO_LINK, -ECANCELED}, {IOSQE_IO_HARDLINK, 0}};
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    int file = test_temp_file(5, 0);
    char buf[64];

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Op first = {0}, second = {0};
        io_uring_prep_read(&first.sqe, file, buf, sizeof(buf), 0);
        first.sqe.flags |= (__u8)cases[i].flag;
        io_uring_prep_nop(&second.sqe);
        aio_ring_reserve(ring, 2);
        op_add(ring, &first);
        op_add(ring, &second);
        test_poll_until(ctx, first.done && second.done);
        g_assert_cmpint(first.cqe.res, ==, 5);
        g_assert_cmpint(second.cqe.res, ==, cases[i].second);
    }
    close(file);
    aio_context_free(ctx);
}

static void test_poll_add_remove(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    int efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    Op poll_op = {0}, remove_op = {0};

    io_uring_prep_poll_add(&poll_op.sqe, efd, POLLIN);
    op_add(ring, &poll_op);
    aio_context_poll(ctx, false);
    g_assert_false(poll_op.done);
    g_assert_cmpint(eventfd_write(efd, 1), ==, 0);
    test_poll_until(ctx, poll_op.done);
    g_assert_cmpint(poll_op.cqe.res & POLLIN, ==, POLLIN);

    /* One-shot: a second event says nothing. */
    poll_op.done = false;
    g_assert_cmpint(eventfd_write(efd, 1), ==, 0);
    for (int i = 0; i < 3; i++) {
        aio_context_poll(ctx, false);
    }
    g_assert_false(poll_op.done);

    eventfd_t value;
    g_assert_cmpint(eventfd_read(efd, &value), ==, 0);
    op_add(ring, &poll_op);
    aio_context_poll(ctx, false);
    io_uring_prep_poll_remove(&remove_op.sqe, (uintptr_t)&poll_op.cqe);
    op_add(ring, &remove_op);
    test_poll_until(ctx, poll_op.done && remove_op.done);
    g_assert_cmpint(poll_op.cqe.res, ==, -ECANCELED);
    g_assert_cmpint(remove_op.cqe.res, ==, 0);
    close(efd);
    aio_context_free(ctx);
}

static void test_registered_files(void)
{
    AioContextParams params;
    test_context_params(&params);
    params.ring.file_slots = 4;
    AioContext *ctx = aio_context_new(&params, NULL);
    AioRing *ring = aio_context_ring(ctx);
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    char byte = 0;
    Op op = {0};

    g_assert_cmpint(aio_ring_register_file(ring, 2, fds[1]), ==, 0);
    io_uring_prep_write(&op.sqe, 2, "z", 1, 0);
    op.sqe.flags |= IOSQE_FIXED_FILE;
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, 1);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, 1);
    g_assert_cmpint(byte, ==, 'z');

    /* An empty slot and one out of range. */
    io_uring_prep_write(&op.sqe, 1, "z", 1, 0);
    op.sqe.flags |= IOSQE_FIXED_FILE;
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, -EBADF);
    g_assert_cmpint(aio_ring_register_file(ring, 4, fds[1]), <, 0);

    /* The slot keeps the pipe open; freeing the ring closes it. */
    close(fds[1]);
    g_assert_cmpint(fcntl(fds[0], F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(read(fds[0], &byte, 1), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    aio_context_free(ctx);
    ssize_t ret = -1;
    for (int i = 0; i < 30000 && ret != 0; i++) { /* released by deferred kernel work */
        ret = read(fds[0], &byte, 1);
        g_usleep(1000);
    }
    g_assert_cmpint(ret, ==, 0);
    close(fds[0]);
}

static void test_registered_buffers(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    int file = test_temp_file(8192, 0);
    char *memory = aligned_alloc(4096, 8192);
    test_fill(memory, 8192, 1);
    g_assert_cmpint(pwrite(file, memory, 8192, 0), ==, 8192);
    char *expected = g_memdup2(memory, 8192);
    memset(memory, 0, 8192);
    struct iovec iov[] = {{memory, 4096}, {memory + 4096, 4096}};
    g_assert_cmpint(aio_ring_register_buffers(ring, iov, 2), ==, 0);

    Op op = {0};
    io_uring_prep_read_fixed(&op.sqe, file, memory + 4096 + 100, 1000, 100, 1);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, 1000);
    g_assert_cmpmem(memory + 4096 + 100, 1000, expected + 100, 1000);

    /* A range that leaves its buffer, and a buffer that is not there. */
    io_uring_prep_read_fixed(&op.sqe, file, memory + 4000, 200, 0, 0);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, -EFAULT);
    io_uring_prep_read_fixed(&op.sqe, file, memory, 200, 0, 7);
    op_run(ctx, ring, &op);
    g_assert_cmpint(op.cqe.res, ==, -EFAULT);

    /* Replaced only after unregistering. */
    g_assert_cmpint(aio_ring_register_buffers(ring, iov, 1), ==, -EBUSY);
    g_assert_cmpint(aio_ring_unregister_buffers(ring), ==, 0);
    g_assert_cmpint(aio_ring_register_buffers(ring, iov, 1), ==, 0);
    close(file);
    aio_context_free(ctx); /* frees the registration */
    free(memory);
    g_free(expected);
}

static void test_buffer_limits(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    char dummy[1];
    struct iovec too_large = {dummy, (size_t)1 << 40};
    struct iovec empty = {NULL, 4096};
    g_assert_cmpint(aio_ring_register_buffers(ring, &too_large, 1), <, 0);
    g_assert_cmpint(aio_ring_register_buffers(ring, &empty, 1), <, 0);
    /* Still usable. */
    static _Alignas(4096) char memory[4096];
    struct iovec iov = {memory, sizeof(memory)};
    g_assert_cmpint(aio_ring_register_buffers(ring, &iov, 1), ==, 0);
    aio_context_free(ctx);
}

typedef struct MessageTarget {
    AioContext *ctx;
    int fd;
} MessageTarget;

static void message_get_fd(void *opaque)
{
    MessageTarget *target = opaque;
    target->fd = aio_ring_fd(aio_context_ring(target->ctx));
}

/* MSG_RING wakes a loop that sleeps, and calls nobody there. */
static void test_message(void)
{
    AioContext *ctx = test_context_new();
    AioContextParams params;
    test_context_params(&params);
    params.poll.max_ns = 0;
    AioIoThread *thread = aio_iothread_new(&params, -1, NULL);
    MessageTarget target = {.ctx = aio_iothread_context(thread)};
    aio_iothread_call(thread, message_get_fd, &target);
    AioStats before, after;
    aio_context_get_stats(target.ctx, &before);

    Op op = {0};
    op.cqe.callback = op_done;
    aio_ring_message(aio_context_ring(ctx), target.fd, &op.cqe);
    test_poll_until(ctx, op.done);
    g_assert_cmpint(op.cqe.res, ==, 0);
    do {
        aio_context_get_stats(target.ctx, &after);
    } while (after.cqes == before.cqes);
    aio_iothread_free(thread);
    aio_context_free(ctx);
}

static void endless_done(CqeHandler *handler)
{
    g_assert_not_reached();
}

static void prepare_endless(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_poll_add(sqe, *(int *)opaque, POLLIN);
}

/* Endless requests take no place among the others, and freeing does not wait for them. */
static void test_endless(void)
{
    AioContext *ctx = test_context_new();
    AioRing *ring = aio_context_ring(ctx);
    const unsigned count = aio_ring_cq_entries(ring) + 1;
    g_autofree CqeHandler *handlers = g_new0(CqeHandler, count);
    Op op = {0};
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    for (unsigned i = 0; i < count; i++) {
        handlers[i] = (CqeHandler){.callback = endless_done, .endless = true};
        aio_ring_add(ring, prepare_endless, &fds[0], &handlers[i]);
    }
    io_uring_prep_nop(&op.sqe);
    op_add(ring, &op);
    test_poll_until(ctx, op.done);
    g_assert_cmpuint(aio_ring_in_flight(ring), >=, count);
    aio_context_free(ctx);
    close(fds[0]);
    close(fds[1]);
}

/* Multishot polls are edge triggered; handlers must see the level. */
static unsigned level_calls;

static void level_read(void *opaque)
{
    level_calls++; /* leaves the data where it is */
}

static void test_level_triggered(void)
{
    AioContext *ctx = test_context_new();
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    aio_set_fd_handler(ctx, fds[0], &(AioFdOps){.read = level_read}, NULL);
    g_assert_cmpint(write(fds[1], "xy", 2), ==, 2);
    level_calls = 0;
    test_poll_until(ctx, level_calls == 5);
    aio_set_fd_handler(ctx, fds[0], NULL, NULL);
    close(fds[0]);
    close(fds[1]);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/ring-features/C16-level-triggered", test_level_triggered);
    if (test_uring_denied() || test_monitor_kind() == AIO_MONITOR_EPOLL ||
        test_monitor_kind() == AIO_MONITOR_POLL) {
        return g_test_run();
    }
    g_test_add_func("/ring-features/E1-single-mmap", test_single_mmap);
    g_test_add_func("/ring-features/E2-sendmsg-recvmsg", test_sendmsg_recvmsg);
    g_test_add_func("/ring-features/E3-links", test_links);
    g_test_add_func("/ring-features/E4-broken-links", test_broken_links);
    g_test_add_func("/ring-features/E4-reserve-keeps-chains-whole",
                    test_reserve_keeps_chains_whole);
    g_test_add_func("/ring-features/E7-poll-add-remove", test_poll_add_remove);
    g_test_add_func("/ring-features/E10-registered-files", test_registered_files);
    g_test_add_func("/ring-features/E11-registered-buffers", test_registered_buffers);
    g_test_add_func("/ring-features/E12-buffer-limits", test_buffer_limits);
    g_test_add_func("/ring-features/message", test_message);
    g_test_add_func("/ring-features/endless", test_endless);
    return g_test_run();
}
