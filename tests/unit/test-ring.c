/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The context's ring: its size, queueing and submission (aio/ring.c). */
#include "util.h"

#include <errno.h>
#include <string.h>

#include "aio/batch.h"
#include "aio/error.h"
#include "aio/iothread.h"
#include "aio/ring-internal.h"
#include "ring-util.h"

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
    return g_test_run();
}
