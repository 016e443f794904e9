/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queue, mutex and rwlock between coroutines of one and of several contexts. */
#include "aio/coroutine-lock.h"

#include <stdatomic.h>
#include <sys/resource.h>

#include "aio/bh.h"
#include "aio/iothread.h"
#include "util.h"

static AioCoroutine *new_coroutine(AioCoroutineFn *fn, void *opaque)
{
    AioCoroutine *co = aio_co_new(fn, opaque);
    g_assert_nonnull(co);
    return co;
}

static AioCoroutine *run_coroutine(AioCoroutineFn *fn, void *opaque)
{
    AioCoroutine *co = new_coroutine(fn, opaque);
    aio_co_enter(co);
    return co;
}

/* --- one thread, no context: who gets the lock, in which order --- */

typedef struct Bench {
    AioCoMutex mutex;
    AioCoRwlock rwlock;
    AioCoQueue queue;
    GString *log;
} Bench;

typedef struct Player {
    Bench *bench;
    char name;
    AioCoroutine *co;
} Player;

static void bench_init(Bench *bench)
{
    aio_co_mutex_init(&bench->mutex);
    aio_co_rwlock_init(&bench->rwlock);
    aio_co_queue_init(&bench->queue);
    bench->log = g_string_new(NULL);
}

static void bench_fini(Bench *bench)
{
    aio_co_mutex_fini(&bench->mutex);
    aio_co_rwlock_fini(&bench->rwlock);
    g_assert_true(aio_co_queue_is_empty(&bench->queue));
    g_string_free(bench->log, TRUE);
}

static void player_start(Player *player, Bench *bench, char name, AioCoroutineFn *fn)
{
    *player = (Player){.bench = bench, .name = name};
    player->co = new_coroutine(fn, player);
    aio_co_enter(player->co);
}

static void note(Player *player, char mark)
{
    g_string_append_c(player->bench->log, player->name);
    g_string_append_c(player->bench->log, mark);
}

/* Lock, hold over one wait, unlock. */
static void mutex_player(void *opaque)
{
    Player *player = opaque;
    aio_co_mutex_lock(&player->bench->mutex);
    note(player, '+');
    aio_co_yield();
    note(player, '-');
    aio_co_mutex_unlock(&player->bench->mutex);
}

static void test_mutex_fifo(void)
{
    Bench bench;
    Player players[4];
    bench_init(&bench);
    for (unsigned i = 0; i < 4; i++) {
        player_start(&players[i], &bench, (char)('a' + i), mutex_player);
    }
    g_assert_cmpstr(bench.log->str, ==, "a+");
    for (unsigned i = 0; i < 4; i++) {
        aio_co_enter(players[i].co);
    }
    g_assert_cmpstr(bench.log->str, ==, "a+a-b+b-c+c-d+d-");
    bench_fini(&bench);
}

/* Unlock and lock again does not overtake the one who waits. */
static void greedy_player(void *opaque)
{
    Player *player = opaque;
    aio_co_mutex_lock(&player->bench->mutex);
    aio_co_yield();
    aio_co_mutex_unlock(&player->bench->mutex);
    g_assert_false(aio_co_mutex_trylock(&player->bench->mutex));
    aio_co_mutex_lock(&player->bench->mutex);
    note(player, '+');
    aio_co_mutex_unlock(&player->bench->mutex);
}

static void test_mutex_no_overtaking(void)
{
    Bench bench;
    Player greedy, patient;
    bench_init(&bench);
    player_start(&greedy, &bench, 'g', greedy_player);
    player_start(&patient, &bench, 'p', mutex_player);
    aio_co_enter(greedy.co); /* hands over, waits; then the patient one runs */
    g_assert_cmpstr(bench.log->str, ==, "p+");
    aio_co_enter(patient.co);
    g_assert_cmpstr(bench.log->str, ==, "p+p-g+");
    bench_fini(&bench);
}

static void trylock_player(void *opaque)
{
    Player *player = opaque;
    bool locked = aio_co_mutex_trylock(&player->bench->mutex);
    note(player, locked ? '+' : '!');
    if (locked) {
        aio_co_yield();
        aio_co_mutex_unlock(&player->bench->mutex);
    }
}

static void test_mutex_trylock(void)
{
    Bench bench;
    Player a, b, c;
    bench_init(&bench);
    player_start(&a, &bench, 'a', trylock_player);
    player_start(&b, &bench, 'b', trylock_player);
    aio_co_enter(a.co);
    player_start(&c, &bench, 'c', trylock_player);
    aio_co_enter(c.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b!c+");
    bench_fini(&bench);
}

/* A wake that is not the grant does not let a waiter through. */
static void test_spurious_wake(void)
{
    Bench bench;
    Player a, b;
    bench_init(&bench);
    player_start(&a, &bench, 'a', mutex_player);
    player_start(&b, &bench, 'b', mutex_player);
    aio_co_wake(b.co);
    aio_co_wake(b.co);
    g_assert_cmpstr(bench.log->str, ==, "a+");
    aio_co_enter(a.co);
    aio_co_enter(b.co);
    g_assert_cmpstr(bench.log->str, ==, "a+a-b+b-");
    bench_fini(&bench);
}

static void queue_player(void *opaque)
{
    Player *player = opaque;
    aio_co_queue_wait(&player->bench->queue, NULL);
    note(player, '1');
    aio_co_queue_wait(&player->bench->queue, NULL);
    note(player, '2');
}

static void test_queue(void)
{
    Bench bench;
    Player players[3];
    bench_init(&bench);
    g_assert_false(aio_co_queue_wake_one(&bench.queue));
    for (unsigned i = 0; i < 3; i++) {
        player_start(&players[i], &bench, (char)('a' + i), queue_player);
    }
    g_assert_false(aio_co_queue_is_empty(&bench.queue));
    g_assert_true(aio_co_queue_wake_one(&bench.queue));
    g_assert_cmpstr(bench.log->str, ==, "a1");
    /* Each enters at once and waits again, and is not woken twice. */
    aio_co_queue_wake_all(&bench.queue);
    g_assert_cmpstr(bench.log->str, ==, "a1b1c1a2");
    aio_co_queue_wake_all(&bench.queue);
    g_assert_cmpstr(bench.log->str, ==, "a1b1c1a2b2c2");
    g_assert_false(aio_co_queue_wake_one(&bench.queue));
    bench_fini(&bench);
}

static void condition_player(void *opaque)
{
    Player *player = opaque;
    Bench *bench = player->bench;
    aio_co_mutex_lock(&bench->mutex);
    note(player, '(');
    aio_co_queue_wait(&bench->queue, &bench->mutex);
    note(player, ')');
    g_assert_false(aio_co_mutex_trylock(&bench->mutex));
    aio_co_mutex_unlock(&bench->mutex);
}

static void signal_player(void *opaque)
{
    Player *player = opaque;
    Bench *bench = player->bench;
    aio_co_mutex_lock(&bench->mutex); /* the waiters have released it */
    note(player, '+');
    aio_co_queue_wake_all(&bench->queue);
    note(player, '-');
    aio_co_mutex_unlock(&bench->mutex);
}

static void test_queue_mutex(void)
{
    Bench bench;
    Player a, b, c;
    bench_init(&bench);
    player_start(&a, &bench, 'a', condition_player);
    player_start(&b, &bench, 'b', condition_player);
    player_start(&c, &bench, 'c', signal_player);
    g_assert_cmpstr(bench.log->str, ==, "a(b(c+c-a)b)");
    bench_fini(&bench);
}

static void reader_player(void *opaque)
{
    Player *player = opaque;
    aio_co_rwlock_rdlock(&player->bench->rwlock);
    note(player, '+');
    aio_co_yield();
    note(player, '-');
    aio_co_rwlock_unlock(&player->bench->rwlock);
}

static void writer_player(void *opaque)
{
    Player *player = opaque;
    aio_co_rwlock_wrlock(&player->bench->rwlock);
    note(player, '+');
    aio_co_yield();
    note(player, '-');
    aio_co_rwlock_unlock(&player->bench->rwlock);
}

static void test_rwlock_fair(void)
{
    Bench bench;
    Player r1, r2, w1, r3, r4, w2;
    bench_init(&bench);
    player_start(&r1, &bench, 'a', reader_player);
    player_start(&r2, &bench, 'b', reader_player);
    g_assert_cmpstr(bench.log->str, ==, "a+b+"); /* readers share */
    player_start(&w1, &bench, 'W', writer_player);
    player_start(&r3, &bench, 'c', reader_player); /* held back by the writer */
    player_start(&r4, &bench, 'd', reader_player);
    player_start(&w2, &bench, 'X', writer_player);
    g_assert_cmpstr(bench.log->str, ==, "a+b+");
    aio_co_enter(r2.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b+b-");
    aio_co_enter(r1.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b+b-a-W+");
    aio_co_enter(w1.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b+b-a-W+W-c+d+");
    aio_co_enter(r3.co);
    aio_co_enter(r4.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b+b-a-W+W-c+d+c-d-X+");
    aio_co_enter(w2.co);
    g_assert_cmpstr(bench.log->str, ==, "a+b+b-a-W+W-c+d+c-d-X+X-");
    bench_fini(&bench);
}

static void downgrade_player(void *opaque)
{
    Player *player = opaque;
    aio_co_rwlock_wrlock(&player->bench->rwlock);
    note(player, '+');
    aio_co_yield();
    aio_co_rwlock_downgrade(&player->bench->rwlock);
    note(player, '~');
    aio_co_yield();
    note(player, '-');
    aio_co_rwlock_unlock(&player->bench->rwlock);
}

static void test_rwlock_downgrade(void)
{
    Bench bench;
    Player d, r1, w, r2;
    bench_init(&bench);
    player_start(&d, &bench, 'D', downgrade_player);
    player_start(&r1, &bench, 'a', reader_player);
    player_start(&w, &bench, 'W', writer_player);
    player_start(&r2, &bench, 'b', reader_player);
    aio_co_enter(d.co); /* lets the first reader in, not the writer */
    g_assert_cmpstr(bench.log->str, ==, "D+D~a+");
    aio_co_enter(r1.co);
    g_assert_cmpstr(bench.log->str, ==, "D+D~a+a-");
    aio_co_enter(d.co);
    g_assert_cmpstr(bench.log->str, ==, "D+D~a+a-D-W+");
    aio_co_enter(w.co);
    aio_co_enter(r2.co);
    g_assert_cmpstr(bench.log->str, ==, "D+D~a+a-D-W+W-b+b-");
    bench_fini(&bench);
}

/* --- misuse stops the program --- */

static void relock_main(void *opaque)
{
    aio_co_mutex_lock(opaque);
    aio_co_mutex_lock(opaque);
}

static void unlock_free_main(void *opaque)
{
    aio_co_mutex_unlock(opaque);
}

static void fini_held_main(void *opaque)
{
    aio_co_mutex_lock(opaque);
    aio_co_mutex_fini(opaque);
}

static void test_misuse(const void *data)
{
    AioCoroutineFn *misuse = (AioCoroutineFn *)(uintptr_t)data;
    if (g_test_subprocess()) {
        struct rlimit no_core = {0, 0};
        AioCoMutex mutex;
        setrlimit(RLIMIT_CORE, &no_core);
        aio_co_mutex_init(&mutex);
        run_coroutine(misuse, &mutex);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*ssert*");
}

/* --- several contexts --- */

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

    g_test_add_func("/coroutine-lock/mutex/fifo", test_mutex_fifo);
    g_test_add_func("/coroutine-lock/mutex/no-overtaking", test_mutex_no_overtaking);
    g_test_add_func("/coroutine-lock/mutex/trylock", test_mutex_trylock);
    g_test_add_func("/coroutine-lock/mutex/A28-spurious-wake", test_spurious_wake);
    g_test_add_func("/coroutine-lock/queue/order", test_queue);
    g_test_add_func("/coroutine-lock/queue/mutex", test_queue_mutex);
    g_test_add_func("/coroutine-lock/rwlock/fair", test_rwlock_fair);
    g_test_add_func("/coroutine-lock/rwlock/downgrade", test_rwlock_downgrade);

    g_test_add_data_func("/coroutine-lock/misuse/relock", (void *)(uintptr_t)relock_main,
                         test_misuse);
    g_test_add_data_func("/coroutine-lock/misuse/unlock-free", (void *)(uintptr_t)unlock_free_main,
                         test_misuse);
    g_test_add_data_func("/coroutine-lock/misuse/fini-held", (void *)(uintptr_t)fini_held_main,
                         test_misuse);

    g_test_add_func("/coroutine-lock/threads/mutex", test_mutex_threads);
    g_test_add_func("/coroutine-lock/threads/rwlock", test_rwlock_threads);
    g_test_add_func("/coroutine-lock/threads/queue", test_queue_threads);
    return g_test_run();
}
