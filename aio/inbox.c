/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finished helper work on its way back to a context.
 *
 * How it works: posting pushes on a lock-free stack; whoever finds the stack
 * empty also schedules the bottom half, which wakes the context if it sleeps.
 * The bottom half takes the whole stack, turns it around, appends it to the
 * home thread's queue and calls done() for one after the other.
 *
 * done() may turn the loop in a nested way and wait there for the next item
 * of the same queue. So while the queue is not empty a second bottom half,
 * used by the home thread alone, is scheduled: the nested turn continues the
 * queue. The first one is never cancelled, because its schedule may be the
 * only notice of a post that comes just then.
 *
 * Freeing: the home thread may see an item, finish its request and free the
 * context while the poster is still inside aio_bh_schedule(). `posting`
 * counts the posters; their decrement is their last access, and the free
 * waits for it to be 0. `expected` counts work that was submitted and not yet
 * delivered.
 */
#include "aio/inbox.h"

#include <sched.h>
#include <stdatomic.h>

#include <glib.h>

#include "aio/bh.h"

struct AioInbox {
    AioContext *ctx;
    AioBh *bh;          /* scheduled by posters */
    AioBh *continue_bh; /* scheduled by the home thread for nested turns */
    _Atomic(AioPoolWork *) posted;
    _Atomic unsigned expected;
    _Atomic unsigned posting;
    /* home */
    AioPoolWork *first;
    AioPoolWork **tail;
};

/* Append what was posted to the home thread's queue, oldest first. */
static void inbox_take(AioInbox *inbox)
{
    AioPoolWork *work = atomic_exchange_explicit(&inbox->posted, NULL, memory_order_acquire);
    AioPoolWork *first = NULL;
    AioPoolWork **tail = NULL;

    while (work) {
        AioPoolWork *next = work->next;
        work->next = first;
        if (!first) {
            tail = &work->next;
        }
        first = work;
        work = next;
    }
    if (first) {
        *inbox->tail = first;
        inbox->tail = tail;
    }
}

static AioPoolWork *inbox_pop(AioInbox *inbox)
{
    AioPoolWork *work = inbox->first;
    if (work) {
        inbox->first = work->next;
        if (!inbox->first) {
            inbox->tail = &inbox->first;
        }
        work->next = NULL;
    }
    return work;
}

static void inbox_deliver(void *opaque)
{
    AioInbox *inbox = opaque;
    AioPoolWork *work;

    inbox_take(inbox);
    while ((work = inbox_pop(inbox))) {
        if (inbox->first) {
            aio_bh_schedule(inbox->continue_bh);
        }
        atomic_fetch_sub_explicit(&inbox->expected, 1, memory_order_relaxed);
        work->done(work);
    }
    aio_bh_cancel(inbox->continue_bh);
}

AioInbox *aio_inbox_new(AioContext *ctx)
{
    AioInbox *inbox = g_new0(AioInbox, 1);
    inbox->ctx = ctx;
    inbox->bh = aio_bh_new(ctx, inbox_deliver, inbox);
    inbox->continue_bh = aio_bh_new(ctx, inbox_deliver, inbox);
    inbox->tail = &inbox->first;
    return inbox;
}

void aio_inbox_drain(AioInbox *inbox)
{
    while (atomic_load_explicit(&inbox->expected, memory_order_acquire) > 0) {
        aio_context_poll(inbox->ctx, true);
    }
}

void aio_inbox_free(AioInbox *inbox)
{
    while (atomic_load_explicit(&inbox->posting, memory_order_acquire) > 0) {
        sched_yield();
    }
    g_assert(!inbox->first && !atomic_load(&inbox->posted));
    aio_bh_delete(inbox->bh);
    aio_bh_delete(inbox->continue_bh);
    g_free(inbox);
}

void aio_inbox_expect(AioInbox *inbox)
{
    atomic_fetch_add_explicit(&inbox->expected, 1, memory_order_relaxed);
}

void aio_inbox_forget(AioInbox *inbox)
{
    atomic_fetch_add_explicit(&inbox->posting, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&inbox->expected, 1, memory_order_release);
    aio_context_notify(inbox->ctx);
    atomic_fetch_sub_explicit(&inbox->posting, 1, memory_order_release);
}

void aio_inbox_post(AioInbox *inbox, AioPoolWork *work)
{
    atomic_fetch_add_explicit(&inbox->posting, 1, memory_order_relaxed);

    AioPoolWork *head = atomic_load_explicit(&inbox->posted, memory_order_relaxed);
    do {
        work->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->posted, &head, work,
                                                    memory_order_release, memory_order_relaxed));
    if (!head) {
        aio_bh_schedule(inbox->bh);
    }

    atomic_fetch_sub_explicit(&inbox->posting, 1, memory_order_release);
}
