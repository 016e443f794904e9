/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How long a context may spin before it sleeps: pure functions of time.
 *
 * Both rules learn from the block time: from before the spin to after the
 * wait, handler run time excluded. The caller supplies every time, so tests
 * run on an invented clock.
 */
#ifndef SLUICE_AIO_POLL_H
#define SLUICE_AIO_POLL_H

#include <stdbool.h>
#include <stdint.h>

/** Default longest spin: on NVMe, 16-32 us was found best. */
#define AIO_POLL_MAX_NS_DEFAULT 32768
/** First spin after none. */
#define AIO_POLL_START_NS 4000
/** A handler idle for this long is no longer polled. */
#define AIO_POLL_IDLE_NS (INT64_C(7) * 1000 * 1000 * 1000)

typedef enum AioPollRule {
    AIO_POLL_CLASSIC,  /**< one time per context, grown and shrunk by each turn */
    AIO_POLL_WEIGHTED, /**< weighted average per handler, the largest wins */
} AioPollRule;

/** What is worth a spin. */
typedef enum AioPollScope {
    AIO_POLL_ANYTHING,  /**< whatever the context waits for */
    AIO_POLL_RING_WORK, /**< while its ring has work with others (aio_ring_is_working()) */
    AIO_POLL_NOTHING,
} AioPollScope;

typedef struct AioPollParams {
    AioPollRule rule;
    AioPollScope scope; /**< at first, see aio_context_set_poll_scope() */
    int64_t max_ns;     /**< longest spin; 0 turns polling off */
    int64_t grow;       /**< factor; 0: 2 */
    int64_t shrink;     /**< divisor; 0: straight to 0 (classic), 2 (weighted) */
    unsigned weight;    /**< weighted: new value counts 1/2^weight; 0: 3 */
    bool insist;        /**< spin even if it does not pay (AioPollAccount) */
} AioPollParams;

/** What an adaptation did, for the counters. */
typedef enum AioPollChange { AIO_POLL_KEPT, AIO_POLL_GROWN, AIO_POLL_SHRUNK } AioPollChange;

void aio_poll_params_init(AioPollParams *params);

/** Whether every value is within range; used by option parsing. */
bool aio_poll_params_valid(const AioPollParams *params);

/**
 * Classic rule. *poll_ns is the context's poll time; @block_ns how long the
 * turn spun and waited.
 */
AioPollChange aio_poll_adapt_classic(const AioPollParams *params, int64_t block_ns,
                                     int64_t *poll_ns);

/** State of one handler under the weighted rule. */
typedef struct AioPollNode {
    int64_t value_ns; /**< weighted average block time; 0: no history */
    bool primed;
} AioPollNode;

/** Account a turn in which the handler was active or idle. */
void aio_poll_node_active(AioPollNode *node, const AioPollParams *params, int64_t block_ns);
void aio_poll_node_idle(AioPollNode *node, const AioPollParams *params, int64_t block_ns);

/** Follow the largest value among the active handlers of a turn. */
AioPollChange aio_poll_adapt_weighted(const AioPollParams *params, int64_t largest_ns,
                                      int64_t *poll_ns);

/**
 * Whether spinning pays: an account of one context, beside either rule.
 *
 * A spin that finds work saves a sleep and a wake-up, AIO_POLL_WORTH_NS; every spin costs its
 * time. Debts end the spinning for a while, which grows as long as it does not pay, so what
 * useless spins can take is bounded. Losing the CPU inside a spin ends it at once: others want it.
 * All zero at the start.
 */
typedef struct AioPollAccount {
    int64_t balance_ns;
    int64_t pause_ns; /**< length of the next pause; 0: the shortest */
    int64_t until_ns; /**< no spin before this time */
} AioPollAccount;

/** About what a sleep and a wake-up of an idle virtual CPU cost. */
#define AIO_POLL_WORTH_NS 20000
/** So many useless spins of full length in debt end the spinning ... */
#define AIO_POLL_DEBT_SPINS 3
/** ... and at this credit earlier pauses are forgotten. */
#define AIO_POLL_CREDIT_NS    (INT64_C(100) * 1000)
#define AIO_POLL_PAUSE_MIN_NS (INT64_C(4) * 1000 * 1000)
#define AIO_POLL_PAUSE_MAX_NS (INT64_C(1) * 1000 * 1000 * 1000)
/** Two readings of the clock inside a spin this far apart: another ran between them. */
#define AIO_POLL_GAP_NS (INT64_C(50) * 1000)

/** Whether a spin may begin at @now_ns. */
bool aio_poll_account_open(const AioPollAccount *account, int64_t now_ns);

/**
 * A spin ended at @now_ns after @spent_ns. @preempted: it met a gap. Returns true if this
 * begins a pause.
 */
bool aio_poll_account_add(AioPollAccount *account, const AioPollParams *params, int64_t now_ns,
                          int64_t spent_ns, bool hit, bool preempted);

#endif /* SLUICE_AIO_POLL_H */
