/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queue, mutex and rwlock between coroutines.
 *
 * How it works: a waiter is a node on the stack of the waiting coroutine,
 * appended to the queue of what it waits for. Granting takes the node off the
 * queue, changes the owner of the lock, and then delivers the grant on the
 * waiter's home thread: directly if that is the calling thread, by a bottom
 * half of its context otherwise. `granted` is written and read on the home
 * thread only. So a waiter cannot return from its wait, and its node cannot go
 * away, before the one delivery that is meant for it, whatever other wakes its
 * coroutine receives.
 *
 * No wake-up is lost: the node is on the queue, and for a mutex or rwlock the
 * lock is seen to be taken, in one step under `guard`; whoever releases the
 * lock after that finds the node. A grant that is delivered before the waiter
 * has yielded finds `granted` set when the waiter looks.
 *
 * Nobody overtakes: a released lock belongs to the first waiter from the
 * moment it leaves the queue; it is never free while somebody waits.
 *
 * `guard` is a pthread mutex because ThreadSanitizer knows those. It is never
 * held across a switch.
 */
#include "aio/coroutine-lock.h"

#include <assert.h>

#include "aio/bh.h"

typedef enum WaiterKind {
    WAITER_EXCLUSIVE,
    WAITER_SHARED,
} WaiterKind;

struct AioCoWaiter {
    AioCoWaiter *next;
    AioCoroutine *co;
    AioContext *home; /* NULL: a thread without a context */
    WaiterKind kind;
    bool granted;
};

static void waiter_init(AioCoWaiter *waiter, WaiterKind kind)
{
    *waiter = (AioCoWaiter){.co = aio_co_self(), .home = aio_context_current(), .kind = kind};
    assert(waiter->co != NULL);
}

static void waiter_wait(const AioCoWaiter *waiter)
{
    while (!waiter->granted) {
        aio_co_yield();
    }
}

/* On the waiter's home thread; the node may be gone when this returns. */
static void waiter_deliver(void *opaque)
{
    AioCoWaiter *waiter = opaque;
    waiter->granted = true;
    aio_co_wake(waiter->co);
}

static void waiter_grant(AioCoWaiter *waiter)
{
    if (waiter->home == NULL || aio_context_is_home(waiter->home)) {
        waiter_deliver(waiter);
    } else {
        aio_bh_call_once(waiter->home, waiter_deliver, waiter);
    }
}

/*
 * A waiter leaves the queue before its frame does, which gcc 12 cannot see when
 * it inlines this (-Wdangling-pointer).
 */
static __attribute__((noinline)) void queue_append(AioCoQueue *queue, AioCoWaiter *waiter)
{
    waiter->next = NULL;
    if (queue->tail != NULL) {
        queue->tail->next = waiter;
    } else {
        queue->head = waiter;
    }
    queue->tail = waiter;
}

static AioCoWaiter *queue_pop(AioCoQueue *queue)
{
    AioCoWaiter *waiter = queue->head;
    if (waiter != NULL) {
        queue->head = waiter->next;
        if (queue->head == NULL) {
            queue->tail = NULL;
        }
    }
    return waiter;
}

/* A queue that nobody else can reach. */
static void queue_grant_all(AioCoQueue *queue)
{
    AioCoWaiter *waiter;
    while ((waiter = queue_pop(queue)) != NULL) {
        waiter_grant(waiter);
    }
}

void aio_co_queue_init(AioCoQueue *queue)
{
    queue->head = NULL;
    queue->tail = NULL;
}

void aio_co_queue_wait(AioCoQueue *queue, AioCoMutex *mutex)
{
    AioCoWaiter waiter;

    waiter_init(&waiter, WAITER_EXCLUSIVE);
    queue_append(queue, &waiter);
    if (mutex != NULL) {
        aio_co_mutex_unlock(mutex);
    }
    waiter_wait(&waiter);
    if (mutex != NULL) {
        aio_co_mutex_lock(mutex);
    }
}

bool aio_co_queue_wake_one(AioCoQueue *queue)
{
    AioCoWaiter *waiter = queue_pop(queue);
    if (waiter == NULL) {
        return false;
    }
    waiter_grant(waiter);
    return true;
}

void aio_co_queue_wake_all(AioCoQueue *queue)
{
    AioCoQueue present = *queue;
    aio_co_queue_init(queue);
    queue_grant_all(&present);
}

bool aio_co_queue_is_empty(const AioCoQueue *queue)
{
    return queue->head == NULL;
}

void aio_co_mutex_init(AioCoMutex *mutex)
{
    pthread_mutex_init(&mutex->guard, NULL);
    mutex->holder = NULL;
    aio_co_queue_init(&mutex->waiters);
}

void aio_co_mutex_fini(AioCoMutex *mutex)
{
    /* Also waits for a last holder that is just leaving its unlock. */
    pthread_mutex_lock(&mutex->guard);
    assert(mutex->holder == NULL);
    assert(aio_co_queue_is_empty(&mutex->waiters));
    pthread_mutex_unlock(&mutex->guard);
    pthread_mutex_destroy(&mutex->guard);
}

void aio_co_mutex_lock(AioCoMutex *mutex)
{
    AioCoroutine *self = aio_co_self();
    AioCoWaiter waiter;

    assert(self != NULL);
    pthread_mutex_lock(&mutex->guard);
    assert(mutex->holder != self);
    if (mutex->holder == NULL) {
        mutex->holder = self;
        pthread_mutex_unlock(&mutex->guard);
        return;
    }
    waiter_init(&waiter, WAITER_EXCLUSIVE);
    queue_append(&mutex->waiters, &waiter);
    pthread_mutex_unlock(&mutex->guard);
    waiter_wait(&waiter);
}

bool aio_co_mutex_trylock(AioCoMutex *mutex)
{
    AioCoroutine *self = aio_co_self();
    bool locked = false;

    assert(self != NULL);
    pthread_mutex_lock(&mutex->guard);
    if (mutex->holder == NULL) {
        mutex->holder = self;
        locked = true;
    }
    pthread_mutex_unlock(&mutex->guard);
    return locked;
}

void aio_co_mutex_unlock(AioCoMutex *mutex)
{
    pthread_mutex_lock(&mutex->guard);
    assert(mutex->holder != NULL && mutex->holder == aio_co_self());
    AioCoWaiter *next = queue_pop(&mutex->waiters);
    mutex->holder = next != NULL ? next->co : NULL;
    pthread_mutex_unlock(&mutex->guard);

    if (next != NULL) {
        waiter_grant(next);
    }
}

void aio_co_rwlock_init(AioCoRwlock *lock)
{
    pthread_mutex_init(&lock->guard, NULL);
    lock->readers = 0;
    lock->writer = NULL;
    aio_co_queue_init(&lock->waiters);
}

void aio_co_rwlock_fini(AioCoRwlock *lock)
{
    pthread_mutex_lock(&lock->guard);
    assert(lock->readers == 0 && lock->writer == NULL);
    assert(aio_co_queue_is_empty(&lock->waiters));
    pthread_mutex_unlock(&lock->guard);
    pthread_mutex_destroy(&lock->guard);
}

/* Whether a waiter of @kind could have the lock now. With guard held. */
static bool rwlock_admits_locked(const AioCoRwlock *lock, WaiterKind kind)
{
    return lock->writer == NULL && (kind == WAITER_SHARED || lock->readers == 0);
}

static void rwlock_take_locked(AioCoRwlock *lock, WaiterKind kind, AioCoroutine *co)
{
    if (kind == WAITER_SHARED) {
        lock->readers++;
    } else {
        lock->writer = co;
    }
}

static void rwlock_lock(AioCoRwlock *lock, WaiterKind kind)
{
    AioCoWaiter waiter;

    waiter_init(&waiter, kind);
    pthread_mutex_lock(&lock->guard);
    assert(lock->writer != waiter.co);
    if (aio_co_queue_is_empty(&lock->waiters) && rwlock_admits_locked(lock, kind)) {
        rwlock_take_locked(lock, kind, waiter.co);
        pthread_mutex_unlock(&lock->guard);
        return;
    }
    queue_append(&lock->waiters, &waiter);
    pthread_mutex_unlock(&lock->guard);
    waiter_wait(&waiter);
}

/* Pass the lock to the first waiters as far as they fit, and release guard. */
static void rwlock_hand_over_and_unguard(AioCoRwlock *lock)
{
    AioCoQueue admitted = {NULL, NULL};

    while (lock->waiters.head != NULL && rwlock_admits_locked(lock, lock->waiters.head->kind)) {
        AioCoWaiter *waiter = queue_pop(&lock->waiters);
        rwlock_take_locked(lock, waiter->kind, waiter->co);
        queue_append(&admitted, waiter);
    }
    pthread_mutex_unlock(&lock->guard);
    queue_grant_all(&admitted);
}

void aio_co_rwlock_rdlock(AioCoRwlock *lock)
{
    rwlock_lock(lock, WAITER_SHARED);
}

void aio_co_rwlock_wrlock(AioCoRwlock *lock)
{
    rwlock_lock(lock, WAITER_EXCLUSIVE);
}

void aio_co_rwlock_unlock(AioCoRwlock *lock)
{
    pthread_mutex_lock(&lock->guard);
    if (lock->writer != NULL) {
        assert(lock->writer == aio_co_self());
        lock->writer = NULL;
    } else {
        assert(lock->readers > 0);
        lock->readers--;
    }
    rwlock_hand_over_and_unguard(lock);
}

void aio_co_rwlock_downgrade(AioCoRwlock *lock)
{
    pthread_mutex_lock(&lock->guard);
    assert(lock->writer != NULL && lock->writer == aio_co_self());
    lock->writer = NULL;
    lock->readers = 1;
    rwlock_hand_over_and_unguard(lock);
}
