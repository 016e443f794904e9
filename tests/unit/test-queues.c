/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queues of FUSE over io_uring (fs/transport/queues.c). */
#include "fs/transport/queues.h"

#include <sched.h>
#include <unistd.h>

#include <glib.h>

static void test_parse(void)
{
    g_assert_cmpuint(fs_queues_parse("0\n"), ==, 1);
    g_assert_cmpuint(fs_queues_parse("0-1\n"), ==, 2);
    g_assert_cmpuint(fs_queues_parse("0-3,8,10-11"), ==, 7);
    g_assert_cmpuint(fs_queues_parse("0-8191\n"), ==, 8192);
}

/* What no kernel says. */
static void test_parse_malformed(void)
{
    static const char *const lists[] = {
        "",     "\n",    "-1",  "a",    "0-",      "0-\n",       "3-1",
        "0,,1", "0-1-2", "0 1", "0,1,", "0-65535", "4294967296", "0-99999999999999999999",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_assert_cmpuint(fs_queues_parse(lists[i]), ==, 0);
    }
}

static void test_count(void)
{
    g_assert_cmpuint(fs_queues_count(), >=, sysconf(_SC_NPROCESSORS_CONF));
}

/* Each queue has somebody, each worker has something, and none has more than its share. */
static void test_shares(void)
{
    for (unsigned workers = 1; workers <= 9; workers++) {
        for (unsigned queues = 1; queues <= 9; queues++) {
            for (unsigned queue = 0; queue < queues; queue++) {
                unsigned served = 0;
                for (unsigned worker = 0; worker < workers; worker++) {
                    served += fs_queues_serves(worker, workers, queue, queues);
                }
                g_assert_cmpuint(served, >=, MAX(workers / queues, 1));
                g_assert_cmpuint(served, <=, (workers + queues - 1) / queues);
            }
            for (unsigned worker = 0; worker < workers; worker++) {
                unsigned serves = 0;
                for (unsigned queue = 0; queue < queues; queue++) {
                    serves += fs_queues_serves(worker, workers, queue, queues);
                }
                g_assert_cmpuint(serves, >=, 1);
                g_assert_cmpuint(serves, <=, (queues + workers - 1) / workers);
            }
        }
    }
}

/* Those of the CPUs where workers may run come first, each of them once. */
static void test_order(void)
{
    cpu_set_t allowed;
    unsigned order[5];

    CPU_ZERO(&allowed);
    CPU_SET(1, &allowed);
    CPU_SET(4, &allowed);
    CPU_SET(7, &allowed); /* not a queue */
    fs_queues_order(order, 5, &allowed, sizeof(allowed));
    const unsigned expected[] = {1, 4, 0, 2, 3};
    g_assert_cmpmem(order, sizeof(order), expected, sizeof(expected));

    fs_queues_order(order, 5, NULL, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        g_assert_cmpuint(order[i], ==, i);
    }

    /* more queues than the set has room for */
    g_autofree unsigned *many = g_new(unsigned, 5000);
    fs_queues_order(many, 5000, &allowed, sizeof(allowed));
    g_assert_cmpuint(many[2], ==, 7);
    g_assert_cmpuint(many[3], ==, 0);
    g_assert_cmpuint(many[4999], ==, 4999);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/queues/parse", test_parse);
    g_test_add_func("/queues/parse-malformed", test_parse_malformed);
    g_test_add_func("/queues/count", test_count);
    g_test_add_func("/queues/shares", test_shares);
    g_test_add_func("/queues/order", test_order);
    return g_test_run();
}
