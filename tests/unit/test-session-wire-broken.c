/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What no kernel would send: broken headers, requests too short for their operation, and random
 * ones. See wire-util.h.
 */
#include <errno.h>

#include "fs/session/check.h"
#include "wire-util.h"

/* A message whose header lies about its length ends the session. */
static void test_broken_header(void)
{
    const struct fuse_in_header header = {.len = sizeof(header) + 1, .opcode = FUSE_STATFS};
    const size_t lengths[] = {sizeof(header), sizeof(header) - 1, 1};

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        Wire wire;
        wire_up_null(&wire, 1);
        g_test_expect_message("sluicefs", G_LOG_LEVEL_CRITICAL, "*broken request*");
        wire_send_raw(&wire, &header, lengths[i]);
        test_mount_until(wire.ended);
        g_test_assert_expected_messages();
        wire_close(&wire, EIO);
    }
}

/* A request that is too short for its operation is refused, and only it. */
static void test_short_requests(void)
{
    Wire wire;
    struct fuse_write_in too_much = {.size = 1};
    struct fuse_batch_forget_in batch = {.count = G_MAXUINT32};

    wire_up_null(&wire, 1);
    for (size_t length = 0; length < sizeof(struct fuse_read_in); length++) {
        g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
        g_assert_cmpint(wire_call(&wire, FUSE_READ, NULL_DIRECT, &too_much, length), ==, EIO);
        g_test_assert_expected_messages();
    }
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    g_assert_cmpint(wire_call(&wire, FUSE_WRITE, NULL_DIRECT, &too_much, sizeof(too_much)), ==,
                    EIO);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    g_assert_cmpint(wire_call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "no end", 6), ==, EIO);
    g_test_expect_message("sluicefs", G_LOG_LEVEL_WARNING, "*malformed*");
    wire_send(&wire, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
    g_assert_cmpint(wire_call(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), ==, 0);
    g_test_assert_expected_messages();
    wire_close(&wire, 0);
}

static gboolean never_fatal(const char *domain, GLogLevelFlags level, const char *text,
                            gpointer opaque)
{
    return FALSE;
}

/* Whatever the body, each request gets its one answer. */
static void test_fuzz(void)
{
    Wire wire;
    GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());
    uint32_t body[1024];

    g_test_log_set_fatal_handler(never_fatal, NULL);
    guint handler = g_log_set_handler("sluicefs", G_LOG_LEVEL_WARNING | G_LOG_FLAG_FATAL,
                                      wire_drop_message, NULL);
    wire_up_null(&wire, 2);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t opcode = (uint32_t)g_rand_int_range(rand, 1, 60);
        size_t length = (size_t)g_rand_int_range(rand, 0, i % 8 ? 100 : sizeof(body));

        if (opcode == FUSE_INTERRUPT) {
            continue; /* its answers are nobody's; see test_interrupt_* */
        }
        for (size_t j = 0; j < G_N_ELEMENTS(body); j++) {
            body[j] = g_rand_boolean(rand) ? 0 : g_rand_int(rand);
        }
        if (opcode == FUSE_READ || opcode == FUSE_READDIR) {
            body[4] %= 100000; /* fuse_read_in.size: what a socket can carry */
        }
        if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_NOTIFY_REPLY) {
            wire_send(&wire, opcode, g_rand_int_range(rand, 0, 8), body, length);
        } else {
            wire_call(&wire, opcode, g_rand_int_range(rand, 0, 8), body, length);
        }
    }
    wire_close(&wire, 0);
    g_log_remove_handler("sluicefs", handler);
    g_rand_free(rand);
}

/* The check itself, on bytes that end where the request ends (for a sanitizer to watch). */
static void test_check_bounds(void)
{
    GRand *rand = g_rand_new_with_seed((guint32)g_test_rand_int());

    for (unsigned i = 0; i < 200000; i++) {
        size_t length = sizeof(struct fuse_in_header) + (size_t)g_rand_int_range(rand, 0, 120);
        struct fuse_in_header *in = g_malloc0(length);
        char *bytes = (char *)(in + 1);

        in->opcode = (uint32_t)g_rand_int_range(rand, 0, 60);
        for (size_t j = 0; j < length - sizeof(*in); j++) {
            bytes[j] = (char)(g_rand_int_range(rand, 0, 4) ? 0 : g_rand_int(rand));
        }
        fs_check_request(in, length);
        g_free(in);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    wire_test_init(&argc, &argv);

    g_test_add_func("/wire/D13-broken-header", test_broken_header);
    g_test_add_func("/wire/D16-short-requests", test_short_requests);
    g_test_add_func("/wire/D16-fuzz", test_fuzz);
    g_test_add_func("/wire/D16-check-bounds", test_check_bounds);

    return wire_test_run();
}
