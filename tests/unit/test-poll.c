/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The adaptive polling rules on invented times (aio/poll.c). */
#include "aio/poll.h"

#include <glib.h>

static AioPollParams classic_params(void)
{
    AioPollParams params;
    aio_poll_params_init(&params);
    return params;
}

static AioPollParams weighted_params(int64_t max_ns)
{
    AioPollParams params = classic_params();
    params.rule = AIO_POLL_WEIGHTED;
    params.max_ns = max_ns;
    return params;
}

static void test_defaults(void)
{
    AioPollParams params = classic_params();
    g_assert_cmpint(params.rule, ==, AIO_POLL_CLASSIC);
    g_assert_cmpint(params.max_ns, ==, 32768);
    g_assert_true(aio_poll_params_valid(&params));

    params.max_ns = -1;
    g_assert_false(aio_poll_params_valid(&params));
    params = classic_params();
    params.grow = -2;
    g_assert_false(aio_poll_params_valid(&params));
    params = classic_params();
    params.weight = 64;
    g_assert_false(aio_poll_params_valid(&params));
}

static void test_covered_block_is_kept(void)
{
    AioPollParams params = classic_params();
    int64_t poll_ns = 8000;
    g_assert_cmpint(aio_poll_adapt_classic(&params, 7999, &poll_ns), ==, AIO_POLL_KEPT);
    g_assert_cmpint(aio_poll_adapt_classic(&params, 8000, &poll_ns), ==, AIO_POLL_KEPT);
    g_assert_cmpint(poll_ns, ==, 8000);
}

static void test_long_block_shrinks(void)
{
    AioPollParams params = classic_params();
    int64_t poll_ns = 8000;
    g_assert_cmpint(aio_poll_adapt_classic(&params, 32769, &poll_ns), ==, AIO_POLL_SHRUNK);
    g_assert_cmpint(poll_ns, ==, 0);
    g_assert_cmpint(aio_poll_adapt_classic(&params, 32769, &poll_ns), ==, AIO_POLL_KEPT);

    params.shrink = 2;
    poll_ns = 8000;
    g_assert_cmpint(aio_poll_adapt_classic(&params, 1000000, &poll_ns), ==, AIO_POLL_SHRUNK);
    g_assert_cmpint(poll_ns, ==, 4000);
}

static void test_growth(void)
{
    AioPollParams params = classic_params();
    static const int64_t expected[] = {4000, 8000, 16000, 32000, 32768};
    int64_t poll_ns = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_assert_cmpint(aio_poll_adapt_classic(&params, 32767, &poll_ns), ==, AIO_POLL_GROWN);
        g_assert_cmpint(poll_ns, ==, expected[i]);
    }
    g_assert_cmpint(aio_poll_adapt_classic(&params, 32767, &poll_ns), ==, AIO_POLL_KEPT);

    params.grow = 3;
    poll_ns = 4000;
    aio_poll_adapt_classic(&params, 20000, &poll_ns);
    g_assert_cmpint(poll_ns, ==, 12000);

    /* A maximum below the first step. */
    params = classic_params();
    params.max_ns = 1000;
    poll_ns = 0;
    g_assert_cmpint(aio_poll_adapt_classic(&params, 900, &poll_ns), ==, AIO_POLL_GROWN);
    g_assert_cmpint(poll_ns, ==, 1000);
}

static void test_block_equal_to_maximum(void)
{
    AioPollParams params = classic_params();
    int64_t poll_ns = 8000;
    g_assert_cmpint(aio_poll_adapt_classic(&params, 32768, &poll_ns), ==, AIO_POLL_KEPT);
    g_assert_cmpint(poll_ns, ==, 8000);
}

static void test_weighted_average(void)
{
    AioPollParams params = weighted_params(32768);
    AioPollNode node = {0};

    aio_poll_node_active(&node, &params, 8000);
    g_assert_cmpint(node.value_ns, ==, 8000); /* the first event counts whole */
    aio_poll_node_active(&node, &params, 16000);
    g_assert_cmpint(node.value_ns, ==, 8000 - 8000 / 8 + 16000 / 8);
    params.weight = 2;
    node = (AioPollNode){.value_ns = 8000, .primed = true};
    aio_poll_node_active(&node, &params, 16000);
    g_assert_cmpint(node.value_ns, ==, 8000 - 8000 / 4 + 16000 / 4);

    /* Above the maximum the average is forgotten. */
    aio_poll_node_active(&node, &params, 1000000);
    g_assert_cmpint(node.value_ns, ==, 0);
}

static void test_weighted_idle_is_forgotten(void)
{
    AioPollParams params = weighted_params(32768);
    AioPollNode node = {0};

    aio_poll_node_idle(&node, &params, 1000);
    g_assert_cmpint(node.value_ns, ==, 0);
    aio_poll_node_active(&node, &params, 20000);
    aio_poll_node_idle(&node, &params, 10000);
    g_assert_cmpint(node.value_ns, ==, 30000);
    aio_poll_node_idle(&node, &params, 10000);
    g_assert_cmpint(node.value_ns, ==, 0);
}

static void test_weighted_context_follows_largest(void)
{
    AioPollParams params = weighted_params(32768);
    int64_t poll_ns = 0;

    /* Straight to the value where one step of growth would not reach it. */
    g_assert_cmpint(aio_poll_adapt_weighted(&params, 20000, &poll_ns), ==, AIO_POLL_GROWN);
    g_assert_cmpint(poll_ns, ==, 20000);
    g_assert_cmpint(aio_poll_adapt_weighted(&params, 21000, &poll_ns), ==, AIO_POLL_GROWN);
    g_assert_cmpint(poll_ns, ==, 32768);
    /* Not below half: keep; below: halve. */
    g_assert_cmpint(aio_poll_adapt_weighted(&params, 16384, &poll_ns), ==, AIO_POLL_KEPT);
    g_assert_cmpint(aio_poll_adapt_weighted(&params, 16383, &poll_ns), ==, AIO_POLL_SHRUNK);
    g_assert_cmpint(poll_ns, ==, 16384);
    /* Nobody active: it decays to nothing. */
    for (int i = 0; i < 20; i++) {
        aio_poll_adapt_weighted(&params, 0, &poll_ns);
    }
    g_assert_cmpint(poll_ns, <=, 1);
}

static bool spin(AioPollAccount *account, int64_t *now_ns, int64_t spent_ns, bool hit)
{
    AioPollParams params = classic_params();
    *now_ns += spent_ns;
    return aio_poll_account_add(account, &params, *now_ns, spent_ns, hit, false);
}

/* Debt ends the spinning; the pauses grow to a second while it does not pay. */
static void test_account_debt(void)
{
    AioPollAccount account = {0};
    int64_t now_ns = 1000, expected_ns = AIO_POLL_PAUSE_MIN_NS;

    g_assert_true(aio_poll_account_open(&account, now_ns));
    for (int pause = 0; pause < 12; pause++) {
        unsigned spins = 1;
        while (!spin(&account, &now_ns, 4000, false)) {
            spins++;
        }
        g_assert_cmpuint(spins, ==, (AIO_POLL_DEBT_SPINS * 32768 + 3999) / 4000);
        g_assert_false(aio_poll_account_open(&account, now_ns + expected_ns - 1));
        g_assert_true(aio_poll_account_open(&account, now_ns + expected_ns));
        now_ns += expected_ns;
        expected_ns = MIN(2 * expected_ns, AIO_POLL_PAUSE_MAX_NS);
    }
    g_assert_cmpint(expected_ns, ==, AIO_POLL_PAUSE_MAX_NS);

    /* Credit makes it forget them. */
    for (int i = 0; i < 10; i++) {
        g_assert_false(spin(&account, &now_ns, 30000, true));
    }
    while (!spin(&account, &now_ns, 32768, false)) {
    }
    g_assert_true(aio_poll_account_open(&account, now_ns + AIO_POLL_PAUSE_MIN_NS));
}

/* One success for a few failures is enough; credit is limited. */
static void test_account_balance(void)
{
    AioPollAccount account = {0};
    int64_t now_ns = 0;

    for (int i = 0; i < 10000; i++) {
        g_assert_false(spin(&account, &now_ns, 30000, true));
        g_assert_false(spin(&account, &now_ns, 10000, false));
    }
    g_assert_cmpint(account.balance_ns, <=, AIO_POLL_CREDIT_NS);
    unsigned spins = 1;
    while (!spin(&account, &now_ns, 32768, false)) {
        spins++;
    }
    g_assert_cmpuint(spins, <, 10);
}

/* Who lost the CPU inside a spin pauses at once, found or not; who insists never does. */
static void test_account_preempted(void)
{
    AioPollParams params = classic_params();
    AioPollAccount account = {0};

    g_assert_true(aio_poll_account_add(&account, &params, 100, 50, true, true));
    g_assert_false(aio_poll_account_open(&account, 100));
    g_assert_true(aio_poll_account_open(&account, 100 + AIO_POLL_PAUSE_MIN_NS));

    params.insist = true;
    account = (AioPollAccount){0};
    for (int i = 0; i < 1000; i++) {
        g_assert_false(aio_poll_account_add(&account, &params, 100, 32768, false, true));
    }
    g_assert_true(aio_poll_account_open(&account, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/poll/B29-defaults", test_defaults);
    g_test_add_func("/poll/B25-covered-block-is-kept", test_covered_block_is_kept);
    g_test_add_func("/poll/B26-long-block-shrinks", test_long_block_shrinks);
    g_test_add_func("/poll/B27-growth", test_growth);
    g_test_add_func("/poll/B28-block-equal-to-maximum", test_block_equal_to_maximum);
    g_test_add_func("/poll/weighted-average", test_weighted_average);
    g_test_add_func("/poll/weighted-idle-is-forgotten", test_weighted_idle_is_forgotten);
    g_test_add_func("/poll/weighted-context-follows-largest",
                    test_weighted_context_follows_largest);
    g_test_add_func("/poll/account-debt", test_account_debt);
    g_test_add_func("/poll/account-balance", test_account_balance);
    g_test_add_func("/poll/account-preempted", test_account_preempted);
    return g_test_run();
}
