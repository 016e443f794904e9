/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INTERRUPT before its request or without one, and requests that wait until they are interrupted or
 * let go: in the order that an invented kernel chooses. See wire-util.h.
 */
#include <errno.h>

#include "wire-util.h"

static uint64_t send_interrupt(Wire *wire, uint64_t unique)
{
    const struct {
        struct fuse_in_header header;
        struct fuse_interrupt_in interrupt;
    } message = {
        .header = {.len = sizeof(message),
                   .opcode = FUSE_INTERRUPT,
                   .unique = unique | FS_FUSE_INTERRUPT_BIT},
        .interrupt.unique = unique,
    };
    wire_send_raw(wire, &message, sizeof(message));
    return message.header.unique;
}

/* Processed before its request: the request is interrupted when it comes. */
static void test_interrupt_overtakes(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    send_interrupt(&wire, wire.unique);
    g_assert_cmpint(wire_call(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in)), ==, EINTR);
    wire_close(&wire, 0);
}

/* One whose request is unknown is handed back when the next request comes. */
static void test_interrupt_unknown(void)
{
    Wire wire;
    FsSessionStats stats;

    wire_up_null(&wire, 2);
    uint64_t unique = send_interrupt(&wire, 1000);
    do { /* two workers: let one take it ... */
        g_usleep(1000);
        fs_session_get_stats(wire.session, &stats);
    } while (stats.requests < 2);
    g_usleep(50000); /* ... and pass it on, before the next message */
    uint64_t next = wire_send(&wire, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0);
    wire_receive(&wire);
    g_assert_cmpuint(wire.header.unique, ==, unique);
    g_assert_cmpint(wire.header.error, ==, -EAGAIN);
    wire_receive(&wire);
    g_assert_cmpuint(wire.header.unique, ==, next);
    wire_close(&wire, 0);
}

/* Those that are kept to the end are freed (for a leak checker to see). */
static void test_interrupts_kept(void)
{
    Wire wire;

    wire_up_null(&wire, 1);
    for (uint64_t i = 0; i < 10; i++) {
        send_interrupt(&wire, 1000 + 2 * i);
    }
    wire_close(&wire, 0);
}

/* Hung up while a helper waits as for a lock: it is interrupted. */
static void test_hang_up_interrupts(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 2);
    for (unsigned i = 0; i < 4; i++) {
        wire_send(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in));
    }
    while (__atomic_load_n(&probe.stuck, __ATOMIC_SEQ_CST) < 4) {
        g_usleep(1000);
    }
    wire_close(&wire, 0);
    g_assert_cmpint(probe.interrupts, ==, 4);
    g_assert_cmpint(probe.stuck, ==, 0);
}

/* A request that waits for another's progress does not keep it out. */
static void test_waiting_requests_do_not_count(void)
{
    Wire wire;
    Probe probe;
    const struct fuse_read_in read_in = {.size = 1};

    probe_init(&probe);
    wire_up(&wire, &probe_filesystem, &probe, 1);
    for (unsigned i = 0; i < 40; i++) { /* more than there are helpers */
        wire_send(&wire, FUSE_READ, PROBE_STUCK, &read_in, sizeof(read_in));
    }
    g_assert_cmpint(wire_call(&wire, FUSE_LOOKUP, FUSE_ROOT_ID, "setuid", sizeof("setuid")), ==, 0);
    probe_let_go(&probe);
    for (unsigned i = 0; i < 40; i++) {
        wire_receive(&wire);
        g_assert_cmpint(wire.header.error, ==, -EBUSY);
    }
    wire_close(&wire, 0);
}

int main(int argc, char **argv)
{
    wire_test_init(&argc, &argv);

    g_test_add_func("/wire/interrupt-overtakes", test_interrupt_overtakes);
    g_test_add_func("/wire/interrupt-unknown", test_interrupt_unknown);
    g_test_add_func("/wire/interrupts-kept", test_interrupts_kept);
    g_test_add_func("/wire/hang-up-interrupts", test_hang_up_interrupts);
    g_test_add_func("/wire/waiting-requests-do-not-count", test_waiting_requests_do_not_count);

    return wire_test_run();
}
