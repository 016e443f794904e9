/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Coroutines: entering, yielding, waking on one thread; misuse. */
#include "aio/coroutine.h"

#include <fenv.h>
#include <pthread.h>
#include <sys/resource.h>

#include "coroutine-util.h"
#include "util.h"

/* --- entering and yielding, no context needed --- */

typedef struct Steps {
    AioCoroutine *co;
    int step;
    int yields;
} Steps;

static void steps_main(void *opaque)
{
    Steps *steps = opaque;
    g_assert_true(aio_co_running());
    g_assert_true(aio_co_self() == steps->co);
    for (int i = 0; i < steps->yields; i++) {
        steps->step++;
        aio_co_yield();
        g_assert_true(aio_co_self() == steps->co);
    }
    steps->step++;
}

static void test_enter_yield(void)
{
    Steps steps = {.yields = 100};

    g_assert_false(aio_co_running());
    g_assert_null(aio_co_self());
    steps.co = new_coroutine(steps_main, &steps);
    for (int i = 1; i <= 101; i++) {
        aio_co_enter(steps.co);
        g_assert_cmpint(steps.step, ==, i);
        g_assert_null(aio_co_self());
    }
}

typedef struct Nest {
    unsigned depth;
    unsigned *reached;
    AioCoroutine *outer;
} Nest;

static void nest_main(void *opaque)
{
    Nest *nest = opaque;
    AioCoroutine *self = aio_co_self();

    g_assert_true(self != nest->outer);
    (*nest->reached)++;
    if (nest->depth > 0) {
        Nest inner = {nest->depth - 1, nest->reached, self};
        AioCoroutine *co = new_coroutine(nest_main, &inner);
        aio_co_enter(co); /* to its yield */
        g_assert_true(aio_co_self() == self);
        aio_co_enter(co); /* to its end */
        g_assert_true(aio_co_self() == self);
    }
    aio_co_yield();
    g_assert_true(aio_co_self() == self);
    (*nest->reached)++;
}

static void test_nested(void)
{
    unsigned reached = 0;
    Nest nest = {20, &reached, NULL};
    AioCoroutine *co = new_coroutine(nest_main, &nest);
    aio_co_enter(co);
    aio_co_enter(co);
    g_assert_cmpuint(reached, ==, 2 * 21);
}

/* Registers that a callee must keep, integer and floating point, survive. */
static __attribute__((noinline)) uint64_t mix(unsigned seed, bool yields)
{
    uint64_t a = seed, b = seed * 3 + 1, c = seed * 5 + 2, d = seed * 7 + 3, e = seed * 11 + 4;
    double x = seed * 0.5, y = seed * 0.25;
    for (unsigned i = 0; i < 50; i++) {
        a = a * 31 + e;
        b ^= a >> 3;
        c += b * 7;
        d = (d << 5) ^ c;
        e += d;
        x = x * 0.75 + y;
        y = y * 0.5 + 1.0;
        if (yields) {
            aio_co_yield();
        }
    }
    return a ^ b ^ c ^ d ^ e ^ (uint64_t)(x * 1e6) ^ (uint64_t)(y * 1e6);
}

typedef struct Mixer {
    unsigned seed;
    uint64_t result;
    bool over;
} Mixer;

static void mixer_main(void *opaque)
{
    Mixer *mixer = opaque;
    mixer->result = mix(mixer->seed, true);
    mixer->over = true;
}

static void test_registers(void)
{
    Mixer mixers[8];
    AioCoroutine *cos[8];
    for (unsigned i = 0; i < 8; i++) {
        mixers[i] = (Mixer){.seed = i + 1};
        cos[i] = new_coroutine(mixer_main, &mixers[i]);
    }
    for (unsigned round = 0; round < 51; round++) {
        for (unsigned i = 0; i < 8; i++) {
            aio_co_enter(cos[i]);
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        g_assert_true(mixers[i].over);
        g_assert_cmpuint(mixers[i].result, ==, mix(mixers[i].seed, false));
    }
}

static void rounding_main(void *opaque)
{
    int *seen = opaque;
    g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
    fesetround(FE_UPWARD);
    aio_co_yield();
    *seen = fegetround();
    fesetround(FE_TOWARDZERO);
}

/* The floating-point control words belong to the stack, not to the thread. */
static void test_float_control(void)
{
    int seen = -1;
    AioCoroutine *co = new_coroutine(rounding_main, &seen);
    aio_co_enter(co);
    g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
    fesetround(FE_DOWNWARD);
    aio_co_enter(co);
    g_assert_cmpint(seen, ==, FE_UPWARD);
    g_assert_cmpint(fegetround(), ==, FE_DOWNWARD);
    fesetround(FE_TONEAREST);
}

/* The alignment that the ABI promises to a function. */
static void alignment_main(void *opaque)
{
    struct {
        _Alignas(16) char bytes[16];
    } aligned;
    uintptr_t *address = opaque;
    *address = (uintptr_t)&aligned;
    __asm__ volatile("" : : "r"(&aligned) : "memory");
    g_assert_cmpuint((uintptr_t)__builtin_frame_address(0) % 16, ==, 0);
}

static void test_alignment(void)
{
    uintptr_t address = 1;
    run_coroutine(alignment_main, &address);
    g_assert_cmpuint(address % 16, ==, 0);
}

/* --- waking on the home thread --- */

static void wake_before_yield_main(void *opaque)
{
    unsigned *steps = opaque;
    aio_co_wake(aio_co_self());
    aio_co_wake(aio_co_self()); /* twice is once */
    aio_co_yield();             /* returns at once */
    *steps = 1;
    aio_co_yield(); /* waits */
    *steps = 2;
}

static void test_wake_before_yield(void)
{
    unsigned steps = 0;
    AioCoroutine *co = new_coroutine(wake_before_yield_main, &steps);
    aio_co_enter(co);
    g_assert_cmpuint(steps, ==, 1);
    aio_co_wake(co); /* outside of any coroutine: at once */
    g_assert_cmpuint(steps, ==, 2);
}

/* A request that completes inside its own submit call. */
static void inline_completion_main(void *opaque)
{
    unsigned *waits = opaque;
    int result = G_MININT; /* in progress */
    /* "submit": completes at once and wakes the requester, which is running */
    result = 0;
    aio_co_wake(aio_co_self());
    while (result == G_MININT) {
        (*waits)++;
        aio_co_yield();
    }
    /* The remembered wake ends the next wait early, once: its loop repeats it. */
    for (unsigned rounds = 0; rounds < 2; rounds++) {
        aio_co_yield();
        (*waits)++;
    }
}

static void test_inline_completion(void)
{
    unsigned waits = 0;
    AioCoroutine *co = new_coroutine(inline_completion_main, &waits);
    aio_co_enter(co);
    g_assert_cmpuint(waits, ==, 1); /* the early wake was consumed; now it waits */
    aio_co_wake(co);
    g_assert_cmpuint(waits, ==, 2);
}

typedef struct Order {
    GString *log;
    AioCoroutine *b, *c, *d;
} Order;

typedef struct OrderStep {
    Order *order;
    char name;
} OrderStep;

static void order_follower_main(void *opaque)
{
    OrderStep *step = opaque;
    Order *order = step->order;
    g_string_append_c(order->log, (char)(step->name - 'a' + 'A'));
    aio_co_yield();
    g_string_append_c(order->log, step->name);
    if (step->name == 'b') {
        aio_co_wake(order->d);
    }
}

static void order_leader_main(void *opaque)
{
    Order *order = opaque;
    g_string_append_c(order->log, '(');
    aio_co_wake(order->c);
    aio_co_wake(order->b);
    aio_co_wake(order->c);
    g_string_append_c(order->log, ')');
    aio_co_yield();
    g_string_append_c(order->log, '!');
}

static void test_wake_in_coroutine(void)
{
    Order order = {.log = g_string_new(NULL)};
    OrderStep b = {&order, 'b'}, c = {&order, 'c'}, d = {&order, 'd'};
    order.b = new_coroutine(order_follower_main, &b);
    order.c = new_coroutine(order_follower_main, &c);
    order.d = new_coroutine(order_follower_main, &d);
    aio_co_enter(order.b);
    aio_co_enter(order.c);
    aio_co_enter(order.d);
    AioCoroutine *leader = new_coroutine(order_leader_main, &order);
    aio_co_enter(leader);
    /* The leader yields first; then c and b as woken, then d, woken by b. */
    g_assert_cmpstr(order.log->str, ==, "BCD()cbd");
    aio_co_enter(leader);
    g_assert_cmpstr(order.log->str, ==, "BCD()cbd!");
    g_string_free(order.log, TRUE);
}

typedef struct PingPong {
    AioCoroutine *peer[2];
    unsigned turns;
    unsigned turn;
    unsigned alive;
} PingPong;

static void ping_pong_main(void *opaque)
{
    PingPong *game = opaque;
    unsigned me = aio_co_self() == game->peer[1];
    game->alive++;
    while (game->turns > 0) {
        while (game->turn != me && game->turns > 0) {
            aio_co_yield();
        }
        if (game->turns > 0) {
            game->turns--;
        }
        game->turn = !me;
        aio_co_wake(game->peer[!me]);
    }
    game->alive--;
}

/* Wakes put off to the enterer do not nest: any number fits on the stack. */
static void test_wake_depth(void)
{
    PingPong game = {.turns = 200 * 1000};
    game.peer[0] = new_coroutine(ping_pong_main, &game);
    game.peer[1] = new_coroutine(ping_pong_main, &game);
    aio_co_enter(game.peer[1]);
    g_assert_cmpuint(game.alive, ==, 1);
    aio_co_enter(game.peer[0]);
    g_assert_cmpuint(game.turns, ==, 0);
    g_assert_cmpuint(game.alive, ==, 0);
}

static void count_main(void *opaque)
{
    unsigned *count = opaque;
    (*count)++;
}

static void test_wake_starts(void)
{
    unsigned count = 0;
    aio_co_wake(new_coroutine(count_main, &count));
    g_assert_cmpuint(count, ==, 1);
}

/* --- misuse stops the program --- */

static void yield_outside(void)
{
    aio_co_yield();
}

static void enter_running_main(void *opaque)
{
    aio_co_enter(aio_co_self());
}

static void enter_running(void)
{
    run_coroutine(enter_running_main, NULL);
}

static void *enter_elsewhere_main(void *opaque)
{
    aio_co_enter(opaque);
    return NULL;
}

static void yield_once_main(void *opaque)
{
    aio_co_yield();
}

static void enter_elsewhere(void)
{
    AioContext *ctx = test_context_new();
    AioCoroutine *co = new_coroutine(yield_once_main, NULL);
    aio_co_enter(co);
    pthread_t thread;
    pthread_create(&thread, NULL, enter_elsewhere_main, co);
    pthread_join(thread, NULL);
    aio_context_free(ctx);
}

static void test_misuse(const void *data)
{
    void (*misuse)(void) = (void (*)(void))(uintptr_t)data;
    if (g_test_subprocess()) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        misuse();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*ssert*");
}

/* --- measured on demand: -m perf --- */

static void perf_yield_main(void *opaque)
{
    bool *stop = opaque;
    while (!*stop) {
        aio_co_yield();
    }
}

static void test_perf_enter_yield(void)
{
    enum { ROUNDS = 10 * 1000 * 1000 };
    bool stop = false;
    AioCoroutine *co = new_coroutine(perf_yield_main, &stop);
    double best = G_MAXDOUBLE;

    for (unsigned run = 0; run < 5; run++) {
        int64_t start = aio_clock_ns();
        for (unsigned i = 0; i < ROUNDS / 5; i++) {
            aio_co_enter(co);
        }
        best = MIN(best, (double)(aio_clock_ns() - start) / (ROUNDS / 5));
    }
    stop = true;
    aio_co_enter(co);
    g_test_minimized_result(best, "enter and yield: %.1f ns", best);
}

static void test_perf_create(void)
{
    enum { ROUNDS = 1000 * 1000 };
    unsigned count = 0;
    int64_t start = aio_clock_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        run_coroutine(count_main, &count);
    }
    double ns = (double)(aio_clock_ns() - start) / ROUNDS;
    g_test_minimized_result(ns, "create, run and free: %.1f ns", ns);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);

    g_test_add_func("/coroutine/enter-yield", test_enter_yield);
    g_test_add_func("/coroutine/nested", test_nested);
    g_test_add_func("/coroutine/registers", test_registers);
    g_test_add_func("/coroutine/float-control", test_float_control);
    g_test_add_func("/coroutine/alignment", test_alignment);

    g_test_add_func("/coroutine/wake/A13-before-yield", test_wake_before_yield);
    g_test_add_func("/coroutine/wake/A13-inline-completion", test_inline_completion);
    g_test_add_func("/coroutine/wake/in-coroutine", test_wake_in_coroutine);
    g_test_add_func("/coroutine/wake/depth", test_wake_depth);
    g_test_add_func("/coroutine/wake/starts", test_wake_starts);

    g_test_add_data_func("/coroutine/misuse/yield-outside", (void *)(uintptr_t)yield_outside,
                         test_misuse);
    g_test_add_data_func("/coroutine/misuse/enter-running", (void *)(uintptr_t)enter_running,
                         test_misuse);
    g_test_add_data_func("/coroutine/misuse/A28-enter-elsewhere",
                         (void *)(uintptr_t)enter_elsewhere, test_misuse);

    if (g_test_perf()) {
        g_test_add_func("/coroutine/perf/enter-yield", test_perf_enter_yield);
        g_test_add_func("/coroutine/perf/create", test_perf_create);
    }
    return g_test_run();
}
