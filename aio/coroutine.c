/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Coroutines: states, entering, waking.
 *
 * How it works: every transition of a coroutine happens on its home thread,
 * so the states below are plain variables. Another thread that wakes a
 * coroutine sends a message: a bottom half of the home context, which wakes on
 * its behalf. What that thread wrote before is visible then, because the
 * bottom half is queued with release and taken with acquire order.
 *
 *                 enter, wake outside of any coroutine
 *     NEW, WAITING ----------------------------------> RUNNING --> ENDED
 *        |     ^                                        |  ^ |
 *        |     `------------ yield, not woken ----------'  | | move_to
 *        | wake inside another coroutine                   | v
 *        `--------------------> SCHEDULED -----------------'<- MOVING
 *
 *     RUNNING: on the thread's chain of entered coroutines. A wake sets
 *         `woken`, which makes the next yield return without waiting.
 *     SCHEDULED: on exactly one list, that of the coroutine that woke it. The
 *         owner of the list will enter it, so a further wake adds nothing.
 *     MOVING: owned by a bottom half of the target context. The coroutine is
 *         not in a yield, so a wake sets `woken` as for RUNNING.
 *
 * No wake is lost. A wake finds the coroutine in one of these states: WAITING
 * or NEW, and it is entered or scheduled; SCHEDULED, and it returns from its
 * yield later than the wake; RUNNING or MOVING, and `woken` is set, which only
 * a yield clears, by returning. In each case the coroutine looks at its
 * condition after the wake. No coroutine is entered twice: only WAITING and
 * NEW lead to an entry by a waker, SCHEDULED and MOVING have one owner each,
 * and all of them are left in the same step in which the entry is decided.
 *
 * Home changes in aio_co_move_to() only, after the stack has been left: the
 * store of `home` with release order hands the coroutine over, and whoever
 * finds by an acquiring load that it is the new home may look at the rest.
 *
 * Wakes inside a coroutine are put off so that the depth of nested entries
 * does not depend on who wakes whom. They are entered, in order, by the frame
 * of coroutine_run() that entered the waker, once that yields or ends.
 *
 * The control block lies at the upper end of the coroutine's stack. It is
 * pinned by the coroutine itself and by each bottom half that carries it;
 * whoever unpins last gives the stack to his thread's pool.
 */
#include "aio/coroutine.h"

#include <assert.h>
#include <stdatomic.h>

#include "aio/bh.h"
#include "aio/coroutine-fiber.h"
#include "aio/coroutine-stack.h"

typedef enum CoroutineState {
    COROUTINE_NEW,
    COROUTINE_WAITING,
    COROUTINE_SCHEDULED,
    COROUTINE_RUNNING,
    COROUTINE_MOVING,
    COROUTINE_ENDED,
} CoroutineState;

typedef struct CoroutineList {
    AioCoroutine *head, *tail;
} CoroutineList;

typedef struct CoroutineThread CoroutineThread;

struct AioCoroutine {
    AioCoFiber fiber;
    AioCoFiber *enterer; /* running: where a yield goes */
    AioCoroutineFn *fn;
    void *opaque;

    _Atomic(AioContext *) home;
    CoroutineThread *home_thread; /* for a home without a context */
    AioContext *moving_to;
    CoroutineState state;
    bool woken;

    CoroutineList wakes; /* scheduled by this coroutine */
    AioCoroutine *next;  /* on such a list */
    _Atomic unsigned pins;
};

struct CoroutineThread {
    AioCoFiber fiber; /* the thread's own stack */
    AioCoroutine *current;
};

/*
 * A coroutine may find itself on another thread after a yield. A call that the
 * compiler cannot look into keeps it from reusing the address found before.
 */
static __attribute__((noinline)) CoroutineThread *coroutine_thread(void)
{
    static _Thread_local CoroutineThread thread;
    CoroutineThread *self = &thread;
    __asm__ volatile("" : "+r"(self));
    return self;
}

static void coroutine_list_append(CoroutineList *list, AioCoroutine *co)
{
    co->next = NULL;
    if (list->tail != NULL) {
        list->tail->next = co;
    } else {
        list->head = co;
    }
    list->tail = co;
}

static AioCoroutine *coroutine_list_pop(CoroutineList *list)
{
    AioCoroutine *co = list->head;
    if (co != NULL) {
        list->head = co->next;
        if (list->head == NULL) {
            list->tail = NULL;
        }
    }
    return co;
}

/* Move all of @from to the end of @list. */
static void coroutine_list_take(CoroutineList *list, CoroutineList *from)
{
    if (from->head == NULL) {
        return;
    }
    if (list->tail != NULL) {
        list->tail->next = from->head;
    } else {
        list->head = from->head;
    }
    list->tail = from->tail;
    *from = (CoroutineList){NULL, NULL};
}

/* Whether the calling thread is the home of @co, and may look at its state. */
static bool coroutine_is_here(const AioCoroutine *co)
{
    AioContext *home = atomic_load_explicit(&co->home, memory_order_acquire);
    return home != NULL ? aio_context_is_home(home) : co->home_thread == coroutine_thread();
}

static void *coroutine_stack(AioCoroutine *co)
{
    return (char *)(co + 1) - AIO_COROUTINE_STACK_SIZE;
}

static void coroutine_unpin(AioCoroutine *co)
{
    if (atomic_fetch_sub_explicit(&co->pins, 1, memory_order_acq_rel) == 1) {
        aio_co_fiber_fini(&co->fiber);
        aio_co_stack_put(coroutine_stack(co));
    }
}

static void coroutine_main(void *opaque)
{
    AioCoroutine *co = opaque;
    co->fn(co->opaque);
    co->state = COROUTINE_ENDED;
    aio_co_fiber_exit(&co->fiber, co->enterer);
}

static void coroutine_arrive(void *opaque);

/* Enter @first, then whatever the entered coroutines have woken. */
static void coroutine_run(AioCoroutine *first)
{
    CoroutineThread *thread = coroutine_thread();
    AioCoroutine *caller = thread->current;
    AioCoFiber *caller_fiber = caller != NULL ? &caller->fiber : &thread->fiber;
    CoroutineList pending = {first, first};
    AioCoroutine *co;

    first->next = NULL;
    if (caller == NULL) {
        aio_co_fiber_init_thread(caller_fiber);
    }

    while ((co = coroutine_list_pop(&pending)) != NULL) {
        co->state = COROUTINE_RUNNING;
        co->home_thread = thread;
        atomic_store_explicit(&co->home, aio_context_current(), memory_order_relaxed);
        co->enterer = caller_fiber;

        thread->current = co;
        aio_co_fiber_switch(caller_fiber, &co->fiber);
        thread->current = caller;

        coroutine_list_take(&pending, &co->wakes);
        if (co->state == COROUTINE_ENDED) {
            coroutine_unpin(co);
        } else if (co->state == COROUTINE_MOVING) {
            AioContext *target = co->moving_to;
            atomic_store_explicit(&co->home, target, memory_order_release);
            aio_bh_call_once(target, coroutine_arrive, co);
        }
    }
}

/* Bottom half: a coroutine that moved, or starts, here. */
static void coroutine_arrive(void *opaque)
{
    AioCoroutine *co = opaque;
    assert(co->state == COROUTINE_MOVING);
    coroutine_run(co);
}

/* Bottom half: a wake from another thread; it holds a pin. */
static void coroutine_wake_arrived(void *opaque)
{
    AioCoroutine *co = opaque;
    if (!coroutine_is_here(co)) { /* it has moved on: follow */
        aio_bh_call_once(aio_co_context(co), coroutine_wake_arrived, co);
        return;
    }
    aio_co_wake(co);
    coroutine_unpin(co);
}

AioCoroutine *aio_co_new(AioCoroutineFn *fn, void *opaque)
{
    char *stack = aio_co_stack_get();
    if (stack == NULL) {
        return NULL;
    }

    AioCoroutine *co = (AioCoroutine *)(void *)(stack + AIO_COROUTINE_STACK_SIZE) - 1;
    aio_co_fiber_init(&co->fiber, stack, (size_t)((char *)co - stack), coroutine_main, co);
    co->enterer = NULL;
    co->fn = fn;
    co->opaque = opaque;
    co->home_thread = coroutine_thread();
    co->moving_to = NULL;
    co->state = COROUTINE_NEW;
    co->woken = false;
    co->wakes = (CoroutineList){NULL, NULL};
    co->next = NULL;
    atomic_init(&co->home, aio_context_current());
    atomic_init(&co->pins, 1);
    return co;
}

void aio_co_enter(AioCoroutine *co)
{
    assert(co->state == COROUTINE_NEW || co->state == COROUTINE_WAITING);
    assert(co->state == COROUTINE_NEW || coroutine_is_here(co));
    coroutine_run(co);
}

void aio_co_start_in(AioContext *ctx, AioCoroutine *co)
{
    assert(co->state == COROUTINE_NEW);
    co->state = COROUTINE_MOVING;
    atomic_store_explicit(&co->home, ctx, memory_order_release);
    aio_bh_call_once(ctx, coroutine_arrive, co);
}

void aio_co_yield(void)
{
    AioCoroutine *co = coroutine_thread()->current;
    assert(co != NULL);

    if (co->woken) {
        co->woken = false;
        return;
    }
    co->state = COROUTINE_WAITING;
    aio_co_fiber_switch(&co->fiber, co->enterer);
}

void aio_co_move_to(AioContext *ctx)
{
    AioCoroutine *co = coroutine_thread()->current;
    assert(co != NULL);

    co->moving_to = ctx;
    co->state = COROUTINE_MOVING;
    aio_co_fiber_switch(&co->fiber, co->enterer);
}

AioCoroutine *aio_co_self(void)
{
    return coroutine_thread()->current;
}

bool aio_co_running(void)
{
    return aio_co_self() != NULL;
}

AioContext *aio_co_context(const AioCoroutine *co)
{
    return atomic_load_explicit(&co->home, memory_order_acquire);
}

void aio_co_wake(AioCoroutine *co)
{
    if (!coroutine_is_here(co)) {
        AioContext *home = aio_co_context(co);
        assert(home != NULL);
        atomic_fetch_add_explicit(&co->pins, 1, memory_order_relaxed);
        aio_bh_call_once(home, coroutine_wake_arrived, co);
        return;
    }

    switch (co->state) {
    case COROUTINE_NEW:
    case COROUTINE_WAITING: {
        AioCoroutine *self = aio_co_self();
        if (self == NULL) {
            coroutine_run(co);
        } else {
            co->state = COROUTINE_SCHEDULED;
            coroutine_list_append(&self->wakes, co);
        }
        break;
    }
    case COROUTINE_RUNNING:
    case COROUTINE_MOVING:
        co->woken = true;
        break;
    case COROUTINE_SCHEDULED:
    case COROUTINE_ENDED:
        break;
    }
}

unsigned aio_co_pooled_stacks(void)
{
    return aio_co_stack_pooled();
}
