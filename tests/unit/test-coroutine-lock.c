/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queue, mutex and rwlock between coroutines of one thread: who gets the lock, in which order. */
#include "aio/coroutine-lock.h"

#include <sys/resource.h>

#include "coroutine-util.h"
#include "util.h"

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
    return g_test_run();
}
