/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two rules of adaptive busy polling, and the account of what it brings, as pure functions.
 *
 * Classic: compare how long the turn blocked with the current poll time. What
 * the spin covered needs no change; a block too long to be covered shrinks it;
 * one that a longer spin would have covered grows it.
 *
 * Weighted: each handler keeps a moving average of the block times of the
 * turns that made it ready. One value above the maximum forgets the average,
 * and idle time adds up until the handler is forgotten, so that no single idle
 * handler keeps the thread spinning. The context follows the largest average.
 *
 * Both learn from the length of waits, and neither sees why a spin found nothing. The usual
 * reason on few CPUs is that who should give the work waits for this very CPU: the work comes as
 * soon as the spin has ended, the wait looks short, and the rule spins longer. The account sees it,
 * since such spins cost and earn nothing.
 */
#include "aio/poll.h"

#define GROW_DEFAULT            2
#define SHRINK_WEIGHTED_DEFAULT 2
#define WEIGHT_DEFAULT          3
#define WEIGHT_MAX              16
#define FACTOR_MAX              1024
#define MAX_NS_LIMIT            INT64_C(1000000000)

void aio_poll_params_init(AioPollParams *params)
{
    *params = (AioPollParams){
        .rule = AIO_POLL_CLASSIC,
        .max_ns = AIO_POLL_MAX_NS_DEFAULT,
        .weight = WEIGHT_DEFAULT,
    };
}

bool aio_poll_params_valid(const AioPollParams *params)
{
    return (params->rule == AIO_POLL_CLASSIC || params->rule == AIO_POLL_WEIGHTED) &&
           params->max_ns >= 0 && params->max_ns <= MAX_NS_LIMIT && params->grow >= 0 &&
           params->grow <= FACTOR_MAX && params->shrink >= 0 && params->shrink <= FACTOR_MAX &&
           params->weight <= WEIGHT_MAX;
}

static int64_t poll_grow(const AioPollParams *params, int64_t poll_ns)
{
    int64_t grow = params->grow ? params->grow : GROW_DEFAULT;
    int64_t grown = poll_ns == 0 ? AIO_POLL_START_NS : poll_ns * grow;
    return grown < params->max_ns ? grown : params->max_ns;
}

static AioPollChange poll_change(int64_t *poll_ns, int64_t value_ns)
{
    AioPollChange change = value_ns > *poll_ns   ? AIO_POLL_GROWN
                           : value_ns < *poll_ns ? AIO_POLL_SHRUNK
                                                 : AIO_POLL_KEPT;
    *poll_ns = value_ns;
    return change;
}

AioPollChange aio_poll_adapt_classic(const AioPollParams *params, int64_t block_ns,
                                     int64_t *poll_ns)
{
    if (block_ns <= *poll_ns) {
        return AIO_POLL_KEPT;
    }
    if (block_ns > params->max_ns) {
        return poll_change(poll_ns, params->shrink ? *poll_ns / params->shrink : 0);
    }
    if (block_ns < params->max_ns && *poll_ns < params->max_ns) {
        return poll_change(poll_ns, poll_grow(params, *poll_ns));
    }
    return AIO_POLL_KEPT;
}

void aio_poll_node_active(AioPollNode *node, const AioPollParams *params, int64_t block_ns)
{
    unsigned weight = params->weight ? params->weight : WEIGHT_DEFAULT;

    if (!node->primed) {
        node->value_ns = block_ns;
        node->primed = true;
    } else {
        node->value_ns += (block_ns >> weight) - (node->value_ns >> weight);
    }
    if (node->value_ns >= params->max_ns) {
        node->value_ns = 0;
    }
}

void aio_poll_node_idle(AioPollNode *node, const AioPollParams *params, int64_t block_ns)
{
    if (!node->primed || node->value_ns == 0) {
        return;
    }
    node->value_ns += block_ns;
    if (node->value_ns >= params->max_ns) {
        node->value_ns = 0;
        node->primed = false;
    }
}

AioPollChange aio_poll_adapt_weighted(const AioPollParams *params, int64_t largest_ns,
                                      int64_t *poll_ns)
{
    int64_t shrink = params->shrink ? params->shrink : SHRINK_WEIGHTED_DEFAULT;

    if (largest_ns > *poll_ns) {
        int64_t grown = poll_grow(params, *poll_ns);
        if (grown < largest_ns) {
            grown = largest_ns < params->max_ns ? largest_ns : params->max_ns;
        }
        return poll_change(poll_ns, grown);
    }
    if (largest_ns < *poll_ns / shrink) {
        return poll_change(poll_ns, *poll_ns / shrink);
    }
    return AIO_POLL_KEPT;
}

bool aio_poll_account_open(const AioPollAccount *account, int64_t now_ns)
{
    return now_ns >= account->until_ns;
}

bool aio_poll_account_add(AioPollAccount *account, const AioPollParams *params, int64_t now_ns,
                          int64_t spent_ns, bool hit, bool preempted)
{
    if (params->insist) {
        return false;
    }
    account->balance_ns += hit ? AIO_POLL_WORTH_NS : -spent_ns;
    if (account->balance_ns >= AIO_POLL_CREDIT_NS) {
        account->balance_ns = AIO_POLL_CREDIT_NS;
        account->pause_ns = 0;
    }
    if (!preempted && account->balance_ns > -AIO_POLL_DEBT_SPINS * params->max_ns) {
        return false;
    }
    int64_t pause_ns = account->pause_ns ? account->pause_ns : AIO_POLL_PAUSE_MIN_NS;
    account->until_ns = now_ns + pause_ns;
    account->pause_ns = pause_ns < AIO_POLL_PAUSE_MAX_NS / 2 ? 2 * pause_ns : AIO_POLL_PAUSE_MAX_NS;
    account->balance_ns = 0;
    return true;
}
