/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Coroutine stacks: pool, guard area, end of a thread. */
#include "aio/coroutine-stack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio/coroutine-fiber.h"
#include "aio/coroutine.h"
#include "coroutine-util.h"
#include "util.h"

/* --- stacks --- */

static void count_main(void *opaque)
{
    unsigned *count = opaque;
    (*count)++;
}

static void test_pool_reuse(void)
{
    unsigned count = 0;
    run_coroutine(count_main, &count);
    unsigned pooled = aio_co_pooled_stacks();
    g_assert_cmpuint(pooled, >=, 1);
    /* ThreadSanitizer takes a third of a millisecond for each. */
    while (count < (AIO_CO_TSAN ? 2000 : 100 * 1000)) {
        run_coroutine(count_main, &count);
        g_assert_cmpuint(aio_co_pooled_stacks(), ==, pooled);
    }
}

static void alive_main(void *opaque)
{
    unsigned *count = opaque;
    /* Enough of the stack to show that no two share it. */
    volatile unsigned char bytes[8192];
    unsigned char mine = (unsigned char)*count;
    (*count)++;
    memset((void *)bytes, mine, sizeof(bytes));
    aio_co_yield();
    for (size_t i = 0; i < sizeof(bytes); i++) {
        g_assert_cmpuint(bytes[i], ==, mine);
    }
    (*count)--;
}

static void test_many_alive(void)
{
    enum { ALIVE = 1000 };
    AioCoroutine **cos = g_new(AioCoroutine *, ALIVE);
    unsigned count = 0;

    for (unsigned i = 0; i < ALIVE; i++) {
        cos[i] = new_coroutine(alive_main, &count);
        aio_co_enter(cos[i]);
    }
    g_assert_cmpuint(count, ==, ALIVE);
    for (unsigned i = 0; i < ALIVE; i++) {
        aio_co_enter(cos[i]);
    }
    g_assert_cmpuint(count, ==, 0);
    g_assert_cmpuint(aio_co_pooled_stacks(), ==, AIO_CO_STACKS_POOLED_MAX);
    g_free(cos);
}

/* Whether the page of @address is mapped. */
static bool is_mapped(void *address)
{
    unsigned char resident;
    uintptr_t page = (uintptr_t)address & ~(uintptr_t)(getpagesize() - 1);
    return mincore((void *)page, 1, &resident) == 0;
}

static void address_main(void *opaque)
{
    void **address = opaque;
    *address = __builtin_frame_address(0);
}

static void *thread_exit_main(void *opaque)
{
    run_coroutine(address_main, opaque);
    g_assert_cmpuint(aio_co_pooled_stacks(), ==, 1);
    return NULL;
}

static void test_thread_exit(void)
{
    /* Mapping addresses are reused by anybody; one unmapped stack proves the destructor. */
    bool freed = false;
    for (unsigned i = 0; i < 10 && !freed; i++) {
        void *address = NULL;
        pthread_t thread;
        g_assert_cmpint(pthread_create(&thread, NULL, thread_exit_main, &address), ==, 0);
        pthread_join(thread, NULL);
        freed = !is_mapped(address);
    }
    g_assert_true(freed);
}

static __attribute__((noinline)) unsigned overflow(volatile char *above, unsigned depth)
{
    volatile char frame[1024];
    frame[0] = above[0];
    return depth > 0 ? overflow(frame, depth - 1) + (unsigned char)frame[0] : 0;
}

/* The lowest usable byte of the running coroutine's stack. */
static char *running_stack(void)
{
    uintptr_t page = (uintptr_t)getpagesize();
    uintptr_t top = ((uintptr_t)aio_co_self() + page - 1) & ~(page - 1);
    return (char *)top - AIO_COROUTINE_STACK_SIZE;
}

static char *guarded_stack;

/* On the alternate stack. */
static void overflow_caught(int signal_number, siginfo_t *info, void *context)
{
    char *address = info->si_addr;
    if (address >= guarded_stack || address < guarded_stack - AIO_CO_STACK_GUARD_SIZE) {
        _exit(2); /* it went on, into memory of others */
    }
    signal(SIGSEGV, SIG_DFL); /* again, and for good */
}

/* Also replaces the handler of a sanitizer, which would turn the signal into an exit. */
static void overflow_main(void *opaque)
{
    static char alternate[64 * 1024];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct sigaction action = {.sa_sigaction = overflow_caught,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    volatile char byte = 0;

    guarded_stack = running_stack();
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    overflow(&byte, AIO_COROUTINE_STACK_SIZE);
}

/* In a thread of its own, whose pool is empty: the stack is a new one. */
static void *overflow_thread(void *opaque)
{
    run_coroutine(overflow_main, NULL);
    return NULL;
}

/* g_test_trap_subprocess() does not tell which signal ended the child. */
static int signal_of_overflow(bool locks_memory)
{
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        pthread_attr_t attr;
        pthread_t thread;

        setrlimit(RLIMIT_CORE, &no_core);
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 256 * 1024);
        if (locks_memory && mlockall(MCL_FUTURE) < 0) {
            _exit(3);
        }
        if (pthread_create(&thread, &attr, overflow_thread, NULL) != 0) {
            _exit(4);
        }
        pthread_join(thread, NULL);
        _exit(0);
    }
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void test_guard(void)
{
    g_assert_cmpint(signal_of_overflow(false), ==, SIGSEGV);
}

/* Locked memory cannot have guard marks: the guard is made by mprotect(). */
static void test_guard_locked_memory(void)
{
    if (mlockall(MCL_FUTURE) < 0) {
        g_test_skip("mlockall() is not allowed here");
        return;
    }
    munlockall();
    g_assert_cmpint(signal_of_overflow(true), ==, SIGSEGV);
}

static __attribute__((noinline)) unsigned use_stack(size_t bytes)
{
    volatile char frame[4096];
    frame[0] = frame[4095] = 1;
    if (bytes > sizeof(frame)) {
        return use_stack(bytes - sizeof(frame)) + (unsigned char)frame[0];
    }
    return (unsigned char)frame[4095];
}

static void use_stack_main(void *opaque)
{
    use_stack(AIO_COROUTINE_STACK_SIZE * 3 / 4);
    *(bool *)opaque = true;
}

static void test_usable_size(void)
{
    bool used = false;
    run_coroutine(use_stack_main, &used);
    g_assert_true(used);
}

static void no_memory_main(void)
{
    struct rlimit limit = {1 << 20, 1 << 20};
    g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);
    unsigned count = 0;
    AioCoroutine *co = aio_co_new(count_main, &count);
    _exit(co == NULL && errno == ENOMEM ? 0 : 1);
}

static void test_no_memory(void)
{
    if (AIO_CO_ASAN || AIO_CO_TSAN) {
        g_test_skip("a sanitizer needs the address space");
        return;
    }
    if (g_test_subprocess()) {
        no_memory_main();
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);

    g_test_add_func("/coroutine/stack/pool-reuse", test_pool_reuse);
    g_test_add_func("/coroutine/stack/many-alive", test_many_alive);
    g_test_add_func("/coroutine/stack/thread-exit", test_thread_exit);
    g_test_add_func("/coroutine/stack/guard", test_guard);
    g_test_add_func("/coroutine/stack/guard-locked-memory", test_guard_locked_memory);
    g_test_add_func("/coroutine/stack/usable-size", test_usable_size);
    g_test_add_func("/coroutine/stack/no-memory", test_no_memory);
    return g_test_run();
}
