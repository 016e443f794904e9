/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Locks between coroutines. Waiters yield, first come first served.
 *
 * A mutex and a rwlock may be shared by coroutines of several contexts. A
 * queue may be used by the coroutines and callbacks of one thread, or by
 * several contexts if each call is made with the same mutex held, which is
 * also the one given to aio_co_queue_wait().
 *
 * A lock that is released goes straight to the first waiter: nobody can
 * overtake, and a waiter that was passed the lock finds it held for him. All
 * functions that wait are for coroutines only, and a coroutine must not change
 * its home with aio_co_move_to() while it waits (it cannot: it waits).
 *
 * Locks are zeroed memory plus init; none may be freed or reused while held or
 * waited for.
 */
#ifndef SLUICE_AIO_COROUTINE_LOCK_H
#define SLUICE_AIO_COROUTINE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

#include "aio/coroutine.h"

typedef struct AioCoWaiter AioCoWaiter;

/** Coroutines waiting for an event, like a condition variable. */
typedef struct AioCoQueue {
    AioCoWaiter *head, *tail; /**< private */
} AioCoQueue;

struct AioCoMutex;

void aio_co_queue_init(AioCoQueue *queue);

/**
 * Yield until woken by aio_co_queue_wake_*(), never for another reason.
 * @mutex (may be NULL) is held by the caller, released while he waits and held
 * again on return; whoever changes the awaited condition under the mutex and
 * wakes after that is not missed.
 */
void aio_co_queue_wait(AioCoQueue *queue, struct AioCoMutex *mutex);

/** Wake the first waiter; false: there was none. */
bool aio_co_queue_wake_one(AioCoQueue *queue);

/** Wake those who wait now; one that waits again at once is not woken twice. */
void aio_co_queue_wake_all(AioCoQueue *queue);

bool aio_co_queue_is_empty(const AioCoQueue *queue);

typedef struct AioCoMutex {
    pthread_mutex_t guard; /**< of the fields below; held for a few instructions */
    AioCoroutine *holder;
    AioCoQueue waiters;
} AioCoMutex;

void aio_co_mutex_init(AioCoMutex *mutex);
/** Neither held nor waited for. */
void aio_co_mutex_fini(AioCoMutex *mutex);

/** Not recursive: locking twice in one coroutine is a bug and stops the program. */
void aio_co_mutex_lock(AioCoMutex *mutex);

/** Lock without waiting; false: somebody holds it. */
bool aio_co_mutex_trylock(AioCoMutex *mutex);

/** By the coroutine that holds it; it may have changed threads since. Does not yield. */
void aio_co_mutex_unlock(AioCoMutex *mutex);

/**
 * Many readers or one writer. Fair: a waiting writer holds back later readers,
 * so a reader must not lock for reading again.
 */
typedef struct AioCoRwlock {
    pthread_mutex_t guard; /**< of the fields below; held for a few instructions */
    unsigned readers;
    AioCoroutine *writer;
    AioCoQueue waiters;
} AioCoRwlock;

void aio_co_rwlock_init(AioCoRwlock *lock);
/** Neither held nor waited for. */
void aio_co_rwlock_fini(AioCoRwlock *lock);
void aio_co_rwlock_rdlock(AioCoRwlock *lock);
void aio_co_rwlock_wrlock(AioCoRwlock *lock);
/** Release either kind. Does not yield. */
void aio_co_rwlock_unlock(AioCoRwlock *lock);
/** The writer becomes a reader without letting another writer in. */
void aio_co_rwlock_downgrade(AioCoRwlock *lock);

#endif /* SLUICE_AIO_COROUTINE_LOCK_H */
