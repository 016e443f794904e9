/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Locks between coroutines. Waiters yield, first come first served. Mutex and
 * rwlock may be shared by coroutines of several contexts; a queue belongs to
 * one context.
 */
#ifndef SLUICE_AIO_COROUTINE_LOCK_H
#define SLUICE_AIO_COROUTINE_LOCK_H

#include "aio/coroutine.h"

typedef struct AioCoWaiter AioCoWaiter;

/** Coroutines waiting for an event. */
typedef struct AioCoQueue {
    AioCoWaiter *head, **tail;
} AioCoQueue;

struct AioCoMutex;

void aio_co_queue_init(AioCoQueue *queue);
/** Yield until woken; @mutex (may be NULL) is released while waiting. */
void aio_co_queue_wait(AioCoQueue *queue, struct AioCoMutex *mutex);
/** Wake the first waiter; false: there was none. */
bool aio_co_queue_wake_one(AioCoQueue *queue);
void aio_co_queue_wake_all(AioCoQueue *queue);
bool aio_co_queue_is_empty(const AioCoQueue *queue);

typedef struct AioCoMutex {
    GMutex guard;
    AioCoroutine *holder;
    AioCoQueue waiters;
} AioCoMutex;

void aio_co_mutex_init(AioCoMutex *mutex);
void aio_co_mutex_fini(AioCoMutex *mutex);
/** In a coroutine; not recursive. */
void aio_co_mutex_lock(AioCoMutex *mutex);
bool aio_co_mutex_trylock(AioCoMutex *mutex);
void aio_co_mutex_unlock(AioCoMutex *mutex);

/** Fair: a waiting writer holds back later readers. */
typedef struct AioCoRwlock {
    GMutex guard;
    unsigned readers;
    bool writer;
    AioCoQueue waiters;
} AioCoRwlock;

void aio_co_rwlock_init(AioCoRwlock *lock);
void aio_co_rwlock_fini(AioCoRwlock *lock);
void aio_co_rwlock_rdlock(AioCoRwlock *lock);
void aio_co_rwlock_wrlock(AioCoRwlock *lock);
/** Release either kind. */
void aio_co_rwlock_unlock(AioCoRwlock *lock);
/** A writer becomes a reader without letting another writer in. */
void aio_co_rwlock_downgrade(AioCoRwlock *lock);

#endif /* SLUICE_AIO_COROUTINE_LOCK_H */
