/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wake-ups of a context that sleeps in GLib's poll: none is lost. A lost one
 * shows as a hang, which the test runner ends.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/context-internal.h"
#include "aio/gsource.h"
#include "aio/handler.h"
#include "notify-producers.h"
#include "util.h"

static unsigned stress_events(void)
{
    const char *value = getenv("SLUICE_TEST_STRESS");
    return value ? MIN((unsigned)strtoul(value, NULL, 10), 500 * 1000) : 10 * 1000;
}

static AioContext *pollable_context_new(void)
{
    AioContextParams params;
    GError *error = NULL;
    test_context_params(&params);
    params.ring.flags = AIO_RING_POLLABLE;
    AioContext *ctx = aio_context_new(&params, &error);
    g_assert_no_error(error);
    return ctx;
}

static void test_glib(void)
{
    AioContext *ctx = pollable_context_new();
    Stress stress = {.ctx = ctx, .per_producer = stress_events(), .window = 1};
    pthread_t threads[PRODUCERS];
    GMainContext *main_context = g_main_context_new();
    GSource *source = aio_gsource_new(ctx);
    unsigned turns = 0;

    g_source_attach(source, main_context);
    start_producers(threads, notify_producer, &stress);
    while (!notify_consume(&stress)) {
        /* Both kinds of sleep, also in turn. */
        if (turns++ % 3 == 0) {
            aio_context_poll(ctx, true);
        } else {
            g_main_context_iteration(main_context, TRUE);
        }
    }
    join_producers(threads);
    g_assert_cmpuint(atomic_load(&ctx->sleepers), ==, 0);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(main_context);
    aio_context_free(ctx);
}

typedef struct Alarm {
    AioContext *ctx;
    int fd;
    _Atomic unsigned calls;
} Alarm;

static void alarm_read(void *opaque)
{
    Alarm *alarm_ = opaque;
    uint64_t value;
    g_assert_cmpint(read(alarm_->fd, &value, sizeof(value)), ==, sizeof(value));
    alarm_->calls++;
}

static void alarm_half(void *opaque)
{
    Alarm *alarm_ = opaque;
    alarm_->calls++;
}

/* Once the home thread sleeps in GLib's poll: a bottom half, then a descriptor. */
static void *alarm_thread(void *opaque)
{
    Alarm *alarm_ = opaque;
    for (unsigned i = 0; i < 10; i++) {
        while (atomic_load(&alarm_->ctx->sleepers) == 0) {
            sched_yield();
        }
        g_usleep(2000); /* announced is not yet asleep */
        if (i % 2 == 0) {
            aio_bh_call_once(alarm_->ctx, alarm_half, alarm_);
        } else {
            uint64_t one = 1;
            g_assert_cmpint(write(alarm_->fd, &one, sizeof(one)), ==, sizeof(one));
        }
        while (alarm_->calls == i) {
            sched_yield();
        }
    }
    return NULL;
}

static void test_glib_asleep(void)
{
    static const AioFdOps ops = {.read = alarm_read};
    AioContext *ctx = pollable_context_new();
    Alarm alarm_ = {.ctx = ctx, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    GMainContext *main_context = g_main_context_new();
    GSource *source = aio_gsource_new(ctx);
    pthread_t thread;

    aio_set_fd_handler(ctx, alarm_.fd, &ops, &alarm_);
    g_source_attach(source, main_context);
    g_assert_cmpint(pthread_create(&thread, NULL, alarm_thread, &alarm_), ==, 0);
    while (alarm_.calls < 10) {
        g_main_context_iteration(main_context, TRUE);
    }
    pthread_join(thread, NULL);
    g_source_destroy(source);
    g_source_unref(source);
    g_main_context_unref(main_context);
    aio_set_fd_handler(ctx, alarm_.fd, NULL, NULL);
    close(alarm_.fd);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);

    g_test_add_func("/notify-glib/B33-asleep", test_glib_asleep);
    g_test_add_func("/notify-glib/B33-stress", test_glib);
    return g_test_run();
}
