/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queueing, submission and completion on the context's ring (aio/ring.c). */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/batch.h"
#include "aio/context-internal.h"
#include "aio/error.h"
#include "aio/handler.h"
#include "aio/iothread.h"
#include "aio/ring-internal.h"

typedef struct Nop {
    CqeHandler cqe;
    unsigned index;
    unsigned *done;
    GArray *order;
} Nop;

static void prepare_nop(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
}

static void nop_done(CqeHandler *handler)
{
    Nop *nop = aio_container_of(handler, Nop, cqe);
    g_assert_cmpint(handler->res, ==, 0);
    (*nop->done)++;
    if (nop->order) {
        g_array_append_val(nop->order, nop->index);
    }
}

static Nop *nops_new(unsigned n, unsigned *done, GArray *order)
{
    Nop *nops = g_new0(Nop, n);
    for (unsigned i = 0; i < n; i++) {
        nops[i].cqe.callback = nop_done;
        nops[i].index = i;
        nops[i].done = done;
        nops[i].order = order;
    }
    return nops;
}

static AioContext *small_context_new(unsigned entries, unsigned cq_entries)
{
    AioContextParams params;
    test_context_params(&params);
    params.monitor = AIO_MONITOR_URING;
    params.ring.entries = entries;
    params.ring.cq_entries = cq_entries;
    GError *error = NULL;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    return ctx;
}

/* Nothing of the callers' is left; the loop's own requests have been submitted. */
static void assert_quiescent(AioRing *ring)
{
    while (aio_ring_queued(ring) > 0) {
        aio_context_poll(aio_context_current(), false);
    }
    g_assert_cmpuint(aio_ring_queued(ring), ==, 0);
    g_assert_cmpuint(ring->backlog.count, ==, 0);
    g_assert_false(aio_ring_is_ready(ring));
}

static void test_default_entries(void)
{
    AioContext *ctx = small_context_new(0, 0);
    AioRing *ring = aio_context_ring(ctx);
    g_assert_cmpuint(aio_ring_sq_entries(ring), ==, 128);
    g_assert_cmpuint(aio_ring_cq_entries(ring), ==, 1024);

    unsigned done = 0;
    Nop *nops = nops_new(129, &done, NULL);
    for (unsigned i = 0; i < 129; i++) {
        aio_ring_add(ring, prepare_nop, NULL, &nops[i].cqe);
    }
    test_poll_until(ctx, done == 129);
    assert_quiescent(ring);
    aio_context_free(ctx);
    g_free(nops);
}

static void test_creation_failure(void)
{
    AioContextParams params;
    test_context_params(&params);
    params.monitor = AIO_MONITOR_URING;
    params.ring.entries = 8;
    params.ring.cq_entries = 4; /* fewer than SQ entries: EINVAL */
    GError *error = NULL;
    g_assert_null(aio_context_new(&params, &error));
    g_assert_error(error, aio_error_quark(), EINVAL);
    g_assert_nonnull(strstr(error->message, g_strerror(EINVAL)));
    g_clear_error(&error);

    /* The thread may try again. */
    AioContext *ctx = small_context_new(8, 0);
    aio_context_free(ctx);
}

static void test_one_ring_per_context(void)
{
    AioContextParams params;
    test_context_params(&params);
    params.monitor = AIO_MONITOR_URING;
    AioContext *ctx = small_context_new(0, 0);
    GError *error = NULL;
    AioIoThread *threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = aio_iothread_new(&params, -1, &error);
        g_assert_no_error(error);
        AioRing *ring = aio_context_ring(aio_iothread_context(threads[i]));
        g_assert_true(ring != aio_context_ring(ctx));
        g_assert_false(pthread_equal(ring->owner, pthread_self()));
    }
    for (int i = 0; i < 4; i++) {
        aio_iothread_free(threads[i]);
    }
    g_assert_true(pthread_equal(aio_context_ring(ctx)->owner, pthread_self()));
    g_assert_true(aio_context_current() == ctx);
    aio_context_free(ctx);
    g_assert_null(aio_context_current());
}

/* More requests than slots, and than the CQ holds: each completes once, in order. */
static void test_more_requests_than_slots(void)
{
    AioContext *ctx = small_context_new(128, 128);
    AioRing *ring = aio_context_ring(ctx);
    unsigned done = 0;
    GArray *order = g_array_new(FALSE, FALSE, sizeof(unsigned));
    Nop *nops = nops_new(500, &done, order);
    for (unsigned i = 0; i < 500; i++) {
        aio_ring_add(ring, prepare_nop, NULL, &nops[i].cqe);
    }
    test_poll_until(ctx, done == 500);
    for (unsigned i = 0; i < 500; i++) {
        g_assert_cmpuint(g_array_index(order, unsigned, i), ==, i);
    }
    AioStats stats;
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.backlogged, >, 0);
    assert_quiescent(ring);
    aio_context_free(ctx);
    g_array_unref(order);
    g_free(nops);
}

static void test_full_ring_10k(void)
{
    AioContext *ctx = small_context_new(8, 8);
    unsigned done = 0;
    Nop *nops = nops_new(10000, &done, NULL);
    for (unsigned i = 0; i < 10000; i++) {
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[i].cqe);
    }
    test_poll_until(ctx, done == 10000);
    assert_quiescent(aio_context_ring(ctx));
    aio_context_free(ctx);
    g_free(nops);
}

/* The kernel's overflow list: more completions than the CQ holds are not lost. */
static void test_cq_overflow(void)
{
    AioContext *ctx = small_context_new(8, 8);
    AioRing *ring = aio_context_ring(ctx);
    ring->limit = 64; /* let more into the kernel than the CQ holds */
    unsigned done = 0;
    Nop *nops = nops_new(64, &done, NULL);
    for (unsigned i = 0; i < 64; i++) {
        aio_ring_add(ring, prepare_nop, NULL, &nops[i].cqe);
    }
    test_poll_until(ctx, done == 64);
    AioStats stats;
    aio_context_get_stats(ctx, &stats);
    g_assert_cmpuint(stats.cq_overflows, >, 0);
    aio_context_free(ctx);
    g_free(nops);
}

static const int *submit_script;
static unsigned submit_calls;

static int scripted_submit(struct io_uring *uring)
{
    submit_calls++;
    if (submit_script && *submit_script != 1) {
        return *submit_script++;
    }
    submit_script = NULL;
    return io_uring_submit(uring);
}

/* Refused submissions leave the requests queued; none is lost, none runs twice. */
static void test_submit_errors(void)
{
    static const int scripts[][6] = {
        {-EAGAIN, 1},
        {-EINTR, -EINTR, -EINTR, 1},
        {0, 1},
        {-EBUSY, 1},
        {-EAGAIN, -EAGAIN, -EBUSY, 0, -EINTR, 1},
        {-EFAULT, -ENOMEM, 1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(scripts); i++) {
        AioContext *ctx = small_context_new(16, 0);
        AioRing *ring = aio_context_ring(ctx);
        unsigned done = 0;
        Nop *nops = nops_new(40, &done, NULL);
        ring->submit = scripted_submit;
        submit_script = scripts[i];
        for (unsigned k = 0; k < 40; k++) {
            aio_ring_add(ring, prepare_nop, NULL, &nops[k].cqe);
        }
        test_poll_until(ctx, done == 40);
        assert_quiescent(ring);
        g_assert_cmpuint(done, ==, 40);
        aio_context_free(ctx);
        g_free(nops);
    }
}

/* While blocked, requests only queue; a completion starts the queue again. */
static void test_blocked_queue_drains(void)
{
    static const int refuse[] = {-EBUSY, -EBUSY, -EBUSY, 1};
    AioContext *ctx = small_context_new(8, 0);
    AioRing *ring = aio_context_ring(ctx);
    unsigned done = 0;
    Nop *nops = nops_new(30, &done, NULL);

    aio_ring_add(ring, prepare_nop, NULL, &nops[0].cqe);
    g_assert_cmpint(aio_ring_submit(ring), ==, 0); /* one in flight */
    ring->submit = scripted_submit;
    submit_script = refuse;
    aio_ring_add(ring, prepare_nop, NULL, &nops[1].cqe);
    g_assert_cmpint(aio_ring_submit(ring), ==, -EBUSY);
    g_assert_true(ring->blocked);

    submit_calls = 0;
    for (unsigned i = 2; i < 30; i++) {
        aio_ring_add(ring, prepare_nop, NULL, &nops[i].cqe);
    }
    g_assert_cmpuint(submit_calls, ==, 0);
    g_assert_cmpuint(ring->backlog.count, ==, 30 - 1 - 8);
    test_poll_until(ctx, done == 30);
    g_assert_false(ring->blocked);
    aio_context_free(ctx);
    g_free(nops);
}

/* One enter for what is queued together; the batch limit forces one earlier. */
static void test_submits_per_batch(void)
{
    static const struct {
        unsigned requests, enters;
    } cases[] = {{1, 1}, {64, 1}, {128, 1}, {200, 2}};
    AioContext *ctx = small_context_new(128, 0);
    AioStats before, after;

    while (aio_context_poll(ctx, false)) {
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned done = 0;
        Nop *nops = nops_new(cases[i].requests, &done, NULL);
        aio_context_get_stats(ctx, &before);
        aio_batch_begin(ctx);
        for (unsigned k = 0; k < cases[i].requests; k++) {
            aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[k].cqe);
        }
        aio_batch_end(ctx);
        test_poll_until(ctx, done == cases[i].requests);
        aio_context_get_stats(ctx, &after);
        g_assert_cmpuint(after.enters - before.enters, ==, cases[i].enters);
        g_assert_cmpuint(after.sqes - before.sqes, ==, cases[i].requests);
        g_free(nops);
    }
    aio_context_free(ctx);
}

static void test_max_batch(void)
{
    AioContext *ctx = small_context_new(128, 0);
    AioStats before, after;
    unsigned done = 0;
    Nop *nops = nops_new(64, &done, NULL);

    g_assert_cmpuint(aio_context_get_max_batch(ctx), ==, 128);
    aio_context_set_max_batch(ctx, 16);
    g_assert_cmpuint(aio_context_get_max_batch(ctx), ==, 16);
    aio_context_poll(ctx, false);
    aio_context_get_stats(ctx, &before);
    for (unsigned i = 0; i < 64; i++) {
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[i].cqe);
    }
    aio_context_get_stats(ctx, &after);
    g_assert_cmpuint(after.submits - before.submits, ==, 4);
    test_poll_until(ctx, done == 64);
    aio_context_set_max_batch(ctx, 0);
    g_assert_cmpuint(aio_context_get_max_batch(ctx), ==, 128);
    aio_context_free(ctx);
    g_free(nops);
}

static void test_tag_is_overwritten_prepare(struct io_uring_sqe *sqe, void *opaque)
{
    io_uring_prep_nop(sqe);
    sqe->user_data = 0xdeadbeef;
}

static void test_tag_is_overwritten(void)
{
    AioContext *ctx = small_context_new(8, 0);
    unsigned done = 0;
    Nop *nops = nops_new(1, &done, NULL);
    aio_ring_add(aio_context_ring(ctx), test_tag_is_overwritten_prepare, NULL, &nops[0].cqe);
    test_poll_until(ctx, done == 1);
    aio_context_free(ctx);
    g_free(nops);
}

static void test_busy_handler_is_refused(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = small_context_new(8, 0);
        unsigned done = 0;
        Nop *nops = nops_new(1, &done, NULL);
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[0].cqe);
        aio_ring_add(aio_context_ring(ctx), prepare_nop, NULL, &nops[0].cqe);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*busy*");
}

static gpointer add_from_foreign_thread(gpointer ring)
{
    aio_ring_add(ring, prepare_nop, NULL, NULL);
    return NULL;
}

static void test_home_thread_only(void)
{
    if (g_test_subprocess()) {
        AioContext *ctx = small_context_new(8, 0);
        g_thread_join(g_thread_new("foreign", add_from_foreign_thread, aio_context_ring(ctx)));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*pthread_equal*");
}

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

static void test_cancel(void)
{
    AioContext *ctx = small_context_new(8, 0);
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    PipeRead r = {.cqe.callback = pipe_read_done, .fd = fds[0]};
    aio_ring_add(aio_context_ring(ctx), prepare_pipe_read, &r, &r.cqe);
    aio_context_poll(ctx, false);
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
    g_assert_cmpint(pipe(fds), ==, 0);
    PipeRead r = {.cqe.callback = pipe_read_done, .fd = fds[0]};
    aio_ring_add(aio_context_ring(ctx), prepare_pipe_read, &r, &r.cqe);
    aio_context_poll(ctx, false);
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

static void test_availability(void)
{
    AioContext *ctx = test_context_new();
    bool wants_ring = test_monitor_kind() == AIO_MONITOR_URING ||
                      (test_monitor_kind() == AIO_MONITOR_AUTO && !test_uring_denied());
    g_assert_cmpint(aio_context_ring(ctx) != NULL, ==, wants_ring);
    if (test_uring_denied()) {
        g_assert_nonnull(strstr(aio_context_fallback_reason(ctx), g_strerror(EPERM)));
        AioRingProbe probe;
        aio_ring_probe(&probe);
        g_assert_false(probe.available);
        g_assert_cmpint(probe.error, ==, EPERM);
    } else {
        g_assert_null(aio_context_fallback_reason(ctx));
    }
    aio_context_free(ctx);
}

/* Asking for io_uring where it is denied is an error that tells why. */
static void test_denied_is_an_error(void)
{
    AioContextParams params;
    test_context_params(&params);
    params.monitor = AIO_MONITOR_URING;
    GError *error = NULL;
    g_assert_null(aio_context_new(&params, &error));
    g_assert_error(error, aio_error_quark(), EPERM);
    g_assert_nonnull(strstr(error->message, g_strerror(EPERM)));
    g_clear_error(&error);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/ring/C13-availability", test_availability);
    if (test_uring_denied()) {
        g_test_add_func("/ring/A2-denied-is-an-error", test_denied_is_an_error);
        return g_test_run();
    }
    g_test_add_func("/ring/A1-default-entries", test_default_entries);
    g_test_add_func("/ring/A2-creation-failure", test_creation_failure);
    g_test_add_func("/ring/A3-C1-one-ring-per-context", test_one_ring_per_context);
    g_test_add_func("/ring/A5-A6-E15-more-requests-than-slots", test_more_requests_than_slots);
    g_test_add_func("/ring/C7-full-ring-10k", test_full_ring_10k);
    g_test_add_func("/ring/cq-overflow", test_cq_overflow);
    g_test_add_func("/ring/A7-A8-A30-submit-errors", test_submit_errors);
    g_test_add_func("/ring/A9-A25-blocked-queue-drains", test_blocked_queue_drains);
    g_test_add_func("/ring/A10-submits-per-batch", test_submits_per_batch);
    g_test_add_func("/ring/B42-max-batch", test_max_batch);
    g_test_add_func("/ring/C2-tag-is-overwritten", test_tag_is_overwritten);
    g_test_add_func("/ring/C3-busy-handler-is-refused", test_busy_handler_is_refused);
    g_test_add_func("/ring/C8-home-thread-only", test_home_thread_only);
    g_test_add_func("/ring/C4-C5-C6-result-and-flags-in-handler", test_result_and_flags_in_handler);
    g_test_add_func("/ring/A12-E17-cached-read-needs-one-enter", test_cached_read_needs_one_enter);
    g_test_add_func("/ring/A14-C10-callback-reuses-handler", test_callback_reuses_handler);
    g_test_add_func("/ring/C10-callback-nests", test_callback_nests);
    g_test_add_func("/ring/C11-C17-untagged-completions", test_untagged_completions);
    g_test_add_func("/ring/cancel", test_cancel);
    g_test_add_func("/ring/C14-free-drains", test_free_drains);
    return g_test_run();
}
