/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Coroutines of a context: woken by other threads, moved, sleeping; on every monitor. */
#include "aio/coroutine.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "aio/bh.h"
#include "aio/iothread.h"
#include "coroutine-util.h"
#include "util.h"

/* --- with a context --- */

typedef struct Sleeper {
    int64_t ns;
    int64_t slept;
    unsigned *left;
} Sleeper;

static void sleeper_main(void *opaque)
{
    Sleeper *sleeper = opaque;
    int64_t start = aio_clock_ns();
    aio_co_wake(aio_co_self()); /* an earlier wake does not shorten it */
    aio_co_sleep(sleeper->ns);
    sleeper->slept = aio_clock_ns() - start;
    (*sleeper->left)--;
}

static void test_sleep(void)
{
    AioContext *ctx = test_context_new();
    unsigned left = 3;
    Sleeper sleepers[] = {{30 * 1000000, 0, &left}, {10 * 1000000, 0, &left}, {0, 0, &left}};
    for (unsigned i = 0; i < G_N_ELEMENTS(sleepers); i++) {
        run_coroutine(sleeper_main, &sleepers[i]);
    }
    g_assert_cmpuint(left, ==, 2); /* no time: no wait */
    test_poll_until(ctx, left == 0);
    g_assert_cmpint(sleepers[0].slept, >=, sleepers[0].ns);
    g_assert_cmpint(sleepers[1].slept, >=, sleepers[1].ns);
    aio_context_free(ctx);
}

typedef struct Mover {
    AioContext *home, *away;
    _Atomic bool over;
    unsigned laps;
} Mover;

static void mover_main(void *opaque)
{
    Mover *mover = opaque;
    for (unsigned i = 0; i < mover->laps; i++) {
        g_assert_true(aio_co_context(aio_co_self()) == mover->home);
        g_assert_true(aio_context_current() == mover->home);
        aio_co_move_to(mover->away);
        g_assert_true(aio_co_context(aio_co_self()) == mover->away);
        g_assert_true(aio_context_current() == mover->away);
        aio_co_move_to(mover->home);
    }
    mover->over = true;
}

static AioIoThread *iothread_new(void)
{
    AioContextParams params;
    GError *error = NULL;
    test_context_params(&params);
    AioIoThread *thread = aio_iothread_new(&params, -1, &error);
    g_assert_no_error(error);
    g_assert_nonnull(thread);
    return thread;
}

static void test_move(void)
{
    AioContext *ctx = test_context_new();
    AioIoThread *thread = iothread_new();
    Mover mover = {.home = ctx, .away = aio_iothread_context(thread), .laps = 200};

    run_coroutine(mover_main, &mover);
    test_poll_until(ctx, mover.over);

    /* To the present context: later, not at once. */
    mover = (Mover){.home = ctx, .away = ctx, .laps = 2};
    run_coroutine(mover_main, &mover);
    g_assert_false(mover.over);
    test_poll_until(ctx, mover.over);

    aio_iothread_free(thread);
    aio_context_free(ctx);
}

typedef struct Visit {
    AioContext *back;
    AioContext *seen;
    bool over;
} Visit;

static void visit_main(void *opaque)
{
    Visit *visit = opaque;
    visit->seen = aio_context_current();
    aio_co_move_to(visit->back);
    visit->over = true;
}

static void test_start_in(void)
{
    AioContext *ctx = test_context_new();
    AioIoThread *thread = iothread_new();
    Visit visit = {.back = ctx};
    aio_co_start_in(aio_iothread_context(thread), new_coroutine(visit_main, &visit));
    test_poll_until(ctx, visit.over);
    g_assert_true(visit.seen == aio_iothread_context(thread));
    aio_iothread_free(thread);
    aio_context_free(ctx);
}

/* A thread that wakes a coroutine as fast as it asks. */
typedef struct Waker {
    _Atomic(AioCoroutine *) asked;
    _Atomic unsigned answers;
    _Atomic bool stop;
    unsigned rounds;
    bool over;
} Waker;

static void *waker_thread(void *opaque)
{
    Waker *waker = opaque;
    while (!waker->stop) {
        AioCoroutine *co = atomic_exchange(&waker->asked, NULL);
        if (co != NULL) {
            /* Counts first: the wake may arrive before or after the coroutine has yielded. */
            waker->answers++;
            aio_co_wake(co);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void waker_main(void *opaque)
{
    Waker *waker = opaque;
    for (unsigned i = 1; i <= waker->rounds; i++) {
        waker->asked = aio_co_self();
        if (i % 3 == 0) {
            sched_yield(); /* let the wake come first */
        }
        /* Only the wake ends this wait, so the thread is done with it afterwards. */
        aio_co_yield();
        g_assert_cmpuint(waker->answers, ==, i);
        g_assert_true(aio_context_is_home(aio_co_context(aio_co_self())));
    }
    waker->over = true;
}

static void test_wake_from_thread(void)
{
    AioContext *ctx = test_context_new();
    Waker waker = {.rounds = 5000};
    pthread_t thread;

    g_assert_cmpint(pthread_create(&thread, NULL, waker_thread, &waker), ==, 0);
    run_coroutine(waker_main, &waker);
    test_poll_until(ctx, waker.over);
    waker.stop = true;
    pthread_join(thread, NULL);
    aio_context_free(ctx);
}

/* Many wakes from several threads for one wait: none enters twice, none is lost. */
typedef struct Storm {
    AioCoroutine *co;
    _Atomic unsigned finished;
    unsigned entries;
    bool inside;
    bool over;
} Storm;

enum { STORM_THREADS = 3, STORM_WAKES = 2000 };

static void storm_finished(void *opaque)
{
    Storm *storm = opaque;
    storm->finished++;
    aio_co_wake(storm->co);
}

static void *storm_thread(void *opaque)
{
    Storm *storm = opaque;
    for (unsigned i = 0; i < STORM_WAKES; i++) {
        aio_co_wake(storm->co);
    }
    aio_bh_call_once(aio_co_context(storm->co), storm_finished, storm);
    return NULL;
}

static void storm_main(void *opaque)
{
    Storm *storm = opaque;
    while (storm->finished < STORM_THREADS) {
        g_assert_true(storm->inside);
        storm->inside = false;
        aio_co_yield();
        g_assert_false(storm->inside);
        storm->inside = true;
        storm->entries++;
    }
    storm->over = true;
}

static void test_wake_storm(void)
{
    AioContext *ctx = test_context_new();
    Storm storm = {.inside = true};
    pthread_t threads[STORM_THREADS];

    storm.co = new_coroutine(storm_main, &storm);
    aio_co_enter(storm.co);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        g_assert_cmpint(pthread_create(&threads[i], NULL, storm_thread, &storm), ==, 0);
    }
    test_poll_until(ctx, storm.over);
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    g_assert_cmpuint(storm.entries, >, 0);
    aio_context_free(ctx);
}

/* A wake that is on its way when its coroutine ends touches nobody. */
static void late_wake_main(void *opaque)
{
    _Atomic unsigned *phase = opaque;
    *phase = 1;
    while (*phase != 2) {
        sched_yield(); /* the thread wakes this running coroutine meanwhile */
    }
}

typedef struct LateWake {
    AioCoroutine *co;
    _Atomic unsigned phase;
} LateWake;

static void *late_wake_thread(void *opaque)
{
    LateWake *late = opaque;
    while (late->phase != 1) {
        sched_yield();
    }
    aio_co_wake(late->co);
    late->phase = 2;
    return NULL;
}

static void count_bh(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static void test_late_wake(void)
{
    AioContext *ctx = test_context_new();
    for (unsigned i = 0; i < 100; i++) {
        LateWake late = {.co = NULL};
        pthread_t thread;
        unsigned pooled = aio_co_pooled_stacks();
        unsigned turned = 0, started = 0;

        late.co = new_coroutine(late_wake_main, &late.phase);
        g_assert_cmpint(pthread_create(&thread, NULL, late_wake_thread, &late), ==, 0);
        aio_co_enter(late.co); /* ends with the wake pending */
        pthread_join(thread, NULL);
        /* Made now, it must not have the memory that the wake refers to. */
        AioCoroutine *other = new_coroutine(count_bh, &started);
        aio_bh_call_once(ctx, count_bh, &turned);
        test_poll_until(ctx, turned == 1);
        g_assert_cmpuint(started, ==, 0);
        aio_co_enter(other);
        g_assert_cmpuint(started, ==, 1);
        g_assert_cmpuint(aio_co_pooled_stacks(), ==, MAX(pooled, 2));
    }
    aio_context_free(ctx);
}

typedef struct Transfer {
    int fd;
    unsigned *left;
} Transfer;

static void transfer_main(void *opaque)
{
    Transfer *transfer = opaque;
    char out[4096], in[4096];
    for (unsigned i = 0; i < 8; i++) {
        AioIo io;
        test_fill(out, sizeof(out), i + *transfer->left * 100);
        int64_t offset = (int64_t)sizeof(out) * (i + 8 * *transfer->left);
        aio_io_init_write(&io, transfer->fd, out, sizeof(out), offset);
        aio_co_wake(aio_co_self()); /* an earlier wake does not end the wait */
        g_assert_cmpint(aio_co_io(&io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, sizeof(out));
        aio_io_init_read(&io, transfer->fd, in, sizeof(in), offset);
        g_assert_cmpint(aio_co_io(&io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, sizeof(in));
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
        offset += 1 << 30;
        aio_io_init_read(&io, transfer->fd, in, sizeof(in), offset);
        g_assert_cmpint(aio_co_io(&io), ==, 0);
        g_assert_cmpuint(io.transferred, ==, 0); /* past the end */
    }
    AioIo bad;
    aio_io_init_read(&bad, -1, in, sizeof(in), 0);
    g_assert_cmpint(aio_co_io(&bad), ==, -EBADF);
    (*transfer->left)--;
}

static void test_io(void)
{
    AioContext *ctx = test_context_new();
    unsigned left = 1;
    Transfer transfer = {test_temp_file(1 << 20, 0), &left};
    g_assert_cmpint(transfer.fd, >=, 0);
    run_coroutine(transfer_main, &transfer);
    test_poll_until(ctx, left == 0);
    close(transfer.fd);
    aio_context_free(ctx);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);

    g_test_add_func("/coroutine/wake/A28-from-thread", test_wake_from_thread);
    g_test_add_func("/coroutine/wake/A28-storm", test_wake_storm);
    g_test_add_func("/coroutine/wake/late", test_late_wake);
    g_test_add_func("/coroutine/sleep", test_sleep);
    g_test_add_func("/coroutine/move", test_move);
    g_test_add_func("/coroutine/start-in", test_start_in);
    g_test_add_func("/coroutine/io", test_io);
    return g_test_run();
}
