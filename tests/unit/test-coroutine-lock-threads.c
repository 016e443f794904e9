/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queue, mutex and rwlock between coroutines of several contexts, and moving between them. */
#include "aio/coroutine-lock.h"

#include <stdatomic.h>

#include "aio/iothread.h"
#include "coroutine-util.h"
#include "util.h"

enum { THREADS = 3, PER_THREAD = 4 };

typedef struct Stress Stress;

typedef struct Worker {
    Stress *stress;
    AioContext *ctx;
    unsigned index;
    uint32_t random;
    unsigned rounds_done;
} Worker;

struct Stress {
    AioContext *home;
    AioIoThread *threads[THREADS];
    Worker workers[THREADS * PER_THREAD];
    unsigned rounds;
    _Atomic unsigned running;

    AioCoMutex mutex;
    AioCoRwlock rwlock;
    AioCoQueue not_empty;
    AioCoQueue not_full;

    /* Guarded by the lock under test and by nothing else: the sanitizer looks. */
    unsigned counter;
    unsigned copies[16];
    unsigned items;
    unsigned produced;
    unsigned consumed;
    bool writing;
    _Atomic unsigned reading;
    _Atomic unsigned most_readers;
};

static uint32_t worker_random(Worker *worker)
{
    worker->random = worker->random * 1664525u + 1013904223u;
    return worker->random >> 16;
}

/* Sometimes let other coroutines run, here or elsewhere, with the lock held or not. */
static void worker_pause(Worker *worker)
{
    switch (worker_random(worker) % 16) {
    case 0:
        aio_co_sleep(1000);
        break;
    case 1:
        aio_co_move_to(worker->ctx);
        break;
    case 2:
        /* The lock moves with its holder. */
        worker->ctx =
            aio_iothread_context(worker->stress->threads[worker_random(worker) % THREADS]);
        aio_co_move_to(worker->ctx);
        break;
    default:
        break;
    }
}

static void worker_over(Worker *worker)
{
    Stress *stress = worker->stress;
    g_assert_true(aio_context_current() == worker->ctx);
    stress->running--;
    aio_context_notify(stress->home);
}

static void stress_run(AioCoroutineFn *fn, unsigned rounds, void (*check)(Stress *stress))
{
    Stress *stress = g_new0(Stress, 1);
    AioContextParams params;
    GError *error = NULL;

    test_context_params(&params);
    stress->home = test_context_new();
    stress->rounds = rounds;
    aio_co_mutex_init(&stress->mutex);
    aio_co_rwlock_init(&stress->rwlock);
    for (unsigned i = 0; i < THREADS; i++) {
        stress->threads[i] = aio_iothread_new(&params, -1, &error);
        g_assert_no_error(error);
    }
    stress->running = THREADS * PER_THREAD;
    for (unsigned i = 0; i < THREADS * PER_THREAD; i++) {
        Worker *worker = &stress->workers[i];
        *worker = (Worker){.stress = stress,
                           .ctx = aio_iothread_context(stress->threads[i % THREADS]),
                           .index = i,
                           .random = (uint32_t)g_test_rand_int()};
        aio_co_start_in(worker->ctx, new_coroutine(fn, worker));
    }
    test_poll_until(stress->home, stress->running == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        aio_iothread_free(stress->threads[i]);
    }
    check(stress);
    aio_co_mutex_fini(&stress->mutex);
    aio_co_rwlock_fini(&stress->rwlock);
    aio_context_free(stress->home);
    g_free(stress);
}

static void mutex_worker(void *opaque)
{
    Worker *worker = opaque;
    Stress *stress = worker->stress;
    for (unsigned i = 0; i < stress->rounds; i++) {
        if (worker_random(worker) % 8 != 0 || !aio_co_mutex_trylock(&stress->mutex)) {
            aio_co_mutex_lock(&stress->mutex);
        }
        unsigned before = stress->counter;
        worker_pause(worker);
        g_assert_cmpuint(stress->counter, ==, before);
        stress->counter = before + 1;
        aio_co_mutex_unlock(&stress->mutex);
        worker_pause(worker);
    }
    worker_over(worker);
}

static void mutex_check(Stress *stress)
{
    g_assert_cmpuint(stress->counter, ==, THREADS * PER_THREAD * stress->rounds);
}

static void test_mutex_threads(void)
{
    stress_run(mutex_worker, 500, mutex_check);
}

static void rwlock_worker(void *opaque)
{
    Worker *worker = opaque;
    Stress *stress = worker->stress;
    for (unsigned i = 0; i < stress->rounds; i++) {
        bool writes = worker_random(worker) % 4 == 0;
        if (writes) {
            aio_co_rwlock_wrlock(&stress->rwlock);
            g_assert_false(stress->writing);
            g_assert_cmpuint(stress->reading, ==, 0);
            stress->writing = true;
            stress->counter++;
            for (unsigned j = 0; j < G_N_ELEMENTS(stress->copies); j++) {
                stress->copies[j] = stress->counter;
                if (j == 8) {
                    worker_pause(worker);
                }
            }
            stress->writing = false;
            if (worker_random(worker) % 2 == 0) {
                unsigned mine = stress->counter;
                aio_co_rwlock_downgrade(&stress->rwlock);
                worker_pause(worker);
                g_assert_cmpuint(stress->counter, ==, mine);
            }
        } else {
            aio_co_rwlock_rdlock(&stress->rwlock);
            unsigned readers = ++stress->reading;
            if (readers > stress->most_readers) {
                stress->most_readers = readers;
            }
            g_assert_false(stress->writing);
            unsigned seen = stress->counter;
            worker_pause(worker);
            for (unsigned j = 0; j < G_N_ELEMENTS(stress->copies); j++) {
                g_assert_cmpuint(stress->copies[j], ==, seen);
            }
            stress->reading--;
        }
        worker->rounds_done += writes;
        aio_co_rwlock_unlock(&stress->rwlock);
        worker_pause(worker);
    }
    worker_over(worker);
}

static void rwlock_check(Stress *stress)
{
    unsigned writes = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(stress->workers); i++) {
        writes += stress->workers[i].rounds_done;
    }
    g_assert_cmpuint(stress->counter, ==, writes);
    g_assert_cmpuint(stress->most_readers, >, 1);
}

static void test_rwlock_threads(void)
{
    stress_run(rwlock_worker, 400, rwlock_check);
}

/* A bounded buffer: producers and consumers in every context, one mutex. */
static void buffer_worker(void *opaque)
{
    enum { CAPACITY = 3 };
    Worker *worker = opaque;
    Stress *stress = worker->stress;
    bool produces = worker->index % 2 == 0;

    for (unsigned i = 0; i < stress->rounds; i++) {
        aio_co_mutex_lock(&stress->mutex);
        if (produces) {
            while (stress->items == CAPACITY) {
                aio_co_queue_wait(&stress->not_full, &stress->mutex);
            }
            stress->items++;
            stress->produced++;
            aio_co_queue_wake_one(&stress->not_empty);
        } else {
            while (stress->items == 0) {
                aio_co_queue_wait(&stress->not_empty, &stress->mutex);
            }
            stress->items--;
            stress->consumed++;
            aio_co_queue_wake_one(&stress->not_full);
        }
        aio_co_mutex_unlock(&stress->mutex);
        worker_pause(worker);
    }
    worker_over(worker);
}

static void buffer_check(Stress *stress)
{
    unsigned expected = THREADS * PER_THREAD / 2 * stress->rounds;
    g_assert_cmpuint(stress->produced, ==, expected);
    g_assert_cmpuint(stress->consumed, ==, expected);
    g_assert_cmpuint(stress->items, ==, 0);
}

static void test_queue_threads(void)
{
    stress_run(buffer_worker, 400, buffer_check);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/coroutine-lock/threads/mutex", test_mutex_threads);
    g_test_add_func("/coroutine-lock/threads/rwlock", test_rwlock_threads);
    g_test_add_func("/coroutine-lock/threads/queue", test_queue_threads);
    return g_test_run();
}
