/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The inside of a context, for aio/ and its tests only. */
#ifndef SLUICE_AIO_CONTEXT_INTERNAL_H
#define SLUICE_AIO_CONTEXT_INTERNAL_H

#include <pthread.h>

#include "aio/batch.h"
#include "aio/bh.h"
#include "aio/context.h"
#include "aio/handler.h"
#include "aio/timer.h"

typedef struct AioHandler AioHandler;
typedef struct AioMonitorOps AioMonitorOps;

/** A doubly linked list of handlers through one of their links. */
typedef struct AioHandlerLink {
    AioHandler *next;
    AioHandler **pprev; /**< what points to us; NULL: on no list */
} AioHandlerLink;

typedef struct AioHandlerList {
    AioHandler *first;
    AioHandler **tail;
} AioHandlerList;

/**
 * The callbacks of one descriptor. Never edited while visible: a change
 * inserts a new node and retires the old one.
 *
 * Locked: written under ctx->handlers_lock. Home: home thread only.
 */
struct AioHandler {
    AioContext *ctx;
    int fd;
    AioFdOps ops;
    void *opaque;
    _Atomic(AioHandler *) next; /**< all handlers; inserted locked, unlinked at home */
    _Atomic bool deleted;
    AioHandler *next_deleted; /**< locked */
    /* home */
    AioHandlerLink ready_link;
    uint32_t revents; /**< POLL* bits that came and were not dispatched */
    bool poll_ready;  /**< the poll check found work */
    bool active;      /**< became ready in this turn, for the weighted rule */
    AioHandlerLink polled_link;
    int64_t idle_deadline_ns;
    AioPollNode poll_node;
    /* io_uring monitor */
    CqeHandler cqe;
    bool armed;              /**< home: a poll SQE awaits its CQE */
    bool changed;            /**< locked: on the monitor's list of changes */
    AioHandler *next_change; /**< locked */
    bool rearm;              /**< home: on the list of polls to queue again */
    AioHandler *next_rearm;
};

/** What a readiness interface has to do for a context. */
struct AioMonitorOps {
    AioMonitorKind kind;
    bool (*init)(AioContext *ctx, GError **error);
    /** Home thread, no handler left. */
    void (*fini)(AioContext *ctx);
    /** A handler was replaced (both), added (old NULL) or removed (new NULL). Locked. */
    void (*update)(AioContext *ctx, AioHandler *old_handler, AioHandler *new_handler);
    /** Hand every change to the kernel without waiting. Home thread. */
    void (*arm)(AioContext *ctx);
    /** Wait and append to ctx->ready. Home thread. timeout_ns < 0: for ever. */
    void (*wait)(AioContext *ctx, int64_t timeout_ns);
    /** Whether a non-blocking turn must call wait. Home thread. */
    bool (*needs_wait)(AioContext *ctx);
    /** Whether readiness shows in memory, so that spinning sees every handler. */
    bool sees_all;
    /** Whether nothing of the kernel's refers to a deleted handler any more. Home thread. */
    bool (*released)(AioContext *ctx, AioHandler *handler);
    /** The descriptor another main loop has to watch, or -1. */
    int (*get_fd)(AioContext *ctx);
};

extern const AioMonitorOps aio_monitor_uring;
extern const AioMonitorOps aio_monitor_epoll;
extern const AioMonitorOps aio_monitor_poll;

/** A TIMEOUT request of the context's ring: see deadline.c. */
typedef struct AioDeadline {
    CqeHandler cqe;
    AioContext *ctx;
    bool armed; /**< its CQE is to come */
    int64_t deadline_ns;
    struct __kernel_timespec ts; /**< how long from when it was armed, for the kernel to read */
} AioDeadline;

/** One for what is far, one for what comes up in the meantime. */
#define AIO_DEADLINES 2

typedef struct AioBatchEntry {
    AioBatchFn *fn;
    void *opaque;
} AioBatchEntry;

struct AioContext {
    char *name;
    unsigned depth; /**< turns on the stack */
    _Atomic unsigned max_batch;
    AioCounters counters;

    /* Monitor */
    const AioMonitorOps *monitor;
    char *fallback_reason;
    AioRing *ring;
    int epoll_fd;
    GArray *pollfds;         /**< poll monitor: struct pollfd */
    GPtrArray *pollhandlers; /**< poll monitor: their handlers */
    AioHandler *changes;     /**< io_uring monitor: handlers to look at; locked */
    _Atomic bool has_changes;
    AioHandler *rearms;

    /* Wake-ups: see notifier.c */
    _Atomic unsigned sleepers;
    _Atomic bool notified;
    int notify_fd;
    CqeHandler notify_cqe;
    uint64_t notify_value;
    bool notify_armed;

    /* Handlers: see handler.c */
    pthread_mutex_t handlers_lock;
    _Atomic(AioHandler *) handlers;
    GHashTable *handlers_by_fd;        /**< fd -> live handler; locked */
    _Atomic unsigned handlers_version; /**< grows with every change */
    AioHandler *deleted_handlers;      /**< locked */
    _Atomic bool has_deleted;
    _Atomic int unpolled_handlers; /**< live handlers without a poll check */
    unsigned walking;              /**< walks of the handler list on the stack */
    AioHandlerList ready;          /**< shared by nested turns, first in first out */

    /* Busy polling: see context-poll.c */
    pthread_mutex_t poll_params_lock;
    AioPollParams poll_params; /**< locked */
    _Atomic unsigned poll_params_version;
    AioPollParams poll; /**< the home thread's copy */
    unsigned poll_version;
    int64_t poll_ns;
    AioPollAccount poll_account;
    AioPollScope poll_scope;
    bool poll_started;
    AioHandlerList polled;
    AioPollNode ring_node;
    bool ring_active;
    int64_t (*clock_ns)(void); /**< replaced by tests */

    /* The reading of the clock that is shared: see aio_context_now() */
    int64_t now_ns;
    unsigned now_marks;  /**< that it may still serve */
    uint64_t now_enters; /**< system calls of the rings until it was taken */

    /* Bottom halves: see bh.c */
    _Atomic(AioBh *) bh_stack;
    _Atomic unsigned schedulers; /**< other threads inside aio_bh_schedule() and its like */
    AioBh *bh_first;             /**< home: taken, to be called in this turn */
    AioBh **bh_tail;

    /* Timers: see timer.c */
    GPtrArray *timers;       /**< binary heap from index 1 */
    int64_t timers_floor_ns; /**< earliest deadline of a timer armed by a timer's callback */

    /* Deadlines in the ring: see deadline.c */
    AioDeadline deadlines[AIO_DEADLINES];
    int64_t carried_ns; /**< the earliest of them that is armed; INT64_MAX: none */
    bool deadlines_refused;

    /* Batch sections: see batch.c */
    unsigned batch_depth;
    GArray *batch; /**< AioBatchEntry */

    struct AioInbox *inbox; /**< where finished helper work comes back: see inbox.c */
    void *io_state;
    void (*io_state_free)(void *);
};

/** The context's counters; the home thread writes them. */
AioCounters *aio_context_counters(AioContext *ctx);

/** Where helper threads hand finished work back. Any thread. */
struct AioInbox *aio_context_inbox(AioContext *ctx);

/** The I/O engine's per-context state. @free_fn runs first in aio_context_free(). */
void *aio_context_io_state(AioContext *ctx);
void aio_context_set_io_state(AioContext *ctx, void *state, void (*free_fn)(void *));

/* context.c */
/** Nanoseconds that a loop may sleep; < 0: until it is woken. */
int64_t aio_context_timeout(AioContext *ctx);
/** The part of a turn that follows the wait. */
bool aio_context_dispatch(AioContext *ctx);

/* context-poll.c */
void aio_context_load_poll_params(AioContext *ctx);
/** Whether what the context waits for is worth a spin. */
bool aio_context_may_spin(AioContext *ctx);
bool aio_context_spin(AioContext *ctx, int64_t *timeout_ns);
/** Ask every polled handler once; true: one has work. */
bool aio_context_sweep(AioContext *ctx, int64_t now_ns);
/** Leave poll mode; true: a last look found work. */
bool aio_context_poll_stop(AioContext *ctx);
void aio_context_poll_enrol(AioContext *ctx, AioHandler *handler);
void aio_context_poll_adapt(AioContext *ctx, int64_t block_ns);

/* notifier.c */
bool aio_notifier_init(AioContext *ctx, GError **error);
void aio_notifier_fini(AioContext *ctx);
/** Announce that the home thread may sleep; true: do not, there is news. */
bool aio_notifier_announce(AioContext *ctx, unsigned step);
void aio_notifier_retract(AioContext *ctx, unsigned step);
/** Take note of wake-ups; to be followed by looking for work. */
void aio_notifier_accept(AioContext *ctx);
#define AIO_SLEEPER_GLIB 1u
#define AIO_SLEEPER_TURN 2u

/* handler.c */
void aio_handler_set_ready(AioHandler *handler, uint32_t revents, bool poll_ready);
bool aio_handlers_dispatch(AioContext *ctx);
void aio_handlers_free_deleted(AioContext *ctx);
void aio_handlers_remove_all(AioContext *ctx);
uint32_t aio_handler_events(const AioHandler *handler);
void aio_handler_list_init(AioHandlerList *list);
void aio_handler_list_append(AioHandlerList *list, AioHandler *handler, size_t link_offset);
void aio_handler_list_remove(AioHandlerList *list, AioHandler *handler, size_t link_offset);

/* monitor-uring.c */
void aio_monitor_uring_stop(AioContext *ctx);

/* batch.c */
/** Make the deferred calls now: a nested turn is about to wait. */
void aio_batch_flush(AioContext *ctx);

/* bh.c */
/** 0: one is due; > 0: an idle one, nanoseconds to wait; < 0: none. */
int64_t aio_bh_timeout(AioContext *ctx);
bool aio_bh_run(AioContext *ctx);
/** Wait until no other thread is on its way through the context. Home thread. */
void aio_bh_wait_schedulers(AioContext *ctx);
void aio_bh_free_all(AioContext *ctx);

/* deadline.c */
void aio_deadlines_init(AioContext *ctx);
/** Whether a wait ends without a timeout, and is seen to end, when it is @deadline_ns. */
bool aio_deadline_is_carried(AioContext *ctx, int64_t deadline_ns);
/**
 * Have the ring end the wait that follows at @deadline_ns, @left_ns from now, or before. False:
 * it does not, and the wait needs a timeout. Home thread, io_uring monitor.
 */
bool aio_deadline_carry(AioContext *ctx, int64_t deadline_ns, int64_t left_ns);
/** Take back what the ring carries. Turns the ring; io_uring monitor. */
void aio_deadlines_fini(AioContext *ctx);

/* timer.c */
/** Deadline of the first timer, or -1. */
int64_t aio_timers_deadline(AioContext *ctx);
bool aio_timers_run(AioContext *ctx);

#endif /* SLUICE_AIO_CONTEXT_INTERNAL_H */
