/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait in a queue of FUSE over io_uring (fs/transport/stall.c). */
#include "fs/transport/stall.h"

#include <string.h>

#include <glib.h>

/* A queue as the kernel keeps it: what waits, and the number of each free entry. */
typedef struct Kernel {
    unsigned waiting;
    GArray *free_entries; /* of uint64_t */
    int64_t now_ns;
    bool patient;
} Kernel;

static void take(Kernel *kernel, FsStall *stall, unsigned index)
{
    uint64_t number = g_array_index(kernel->free_entries, uint64_t, index);

    g_array_remove_index_fast(kernel->free_entries, index);
    fs_stall_filled(stall, number);
}

static void arrive(Kernel *kernel, FsStall *stall)
{
    if (kernel->free_entries->len > 0) {
        take(kernel, stall, kernel->free_entries->len - 1);
    } else {
        kernel->waiting++;
    }
}

static void register_entry(Kernel *kernel, FsStall *stall)
{
    uint64_t none = 0;

    fs_stall_registered(stall);
    g_array_append_val(kernel->free_entries, none);
}

static void commit(Kernel *kernel, FsStall *stall)
{
    uint64_t number = fs_stall_committed(stall);

    g_array_append_val(kernel->free_entries, number);
    if (kernel->waiting > 0) {
        kernel->waiting--;
        take(kernel, stall, kernel->free_entries->len - 1);
    }
}

static void kernel_init(Kernel *kernel, FsStall *stall, unsigned entries)
{
    *kernel = (Kernel){.now_ns = 1};
    kernel->free_entries = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    fs_stall_init(stall);
    for (unsigned i = 0; i < entries; i++) {
        register_entry(kernel, stall);
    }
}

/* One tick, a millisecond later, and what it asks for. Returns the actions. */
static unsigned tick(Kernel *kernel, FsStall *stall)
{
    kernel->now_ns += 1000 * 1000;
    unsigned actions = fs_stall_tick(stall, kernel->now_ns, kernel->patient);

    if (actions & FS_STALL_ADD) {
        register_entry(kernel, stall);
    }
    if (actions & FS_STALL_NUDGE) {
        arrive(kernel, stall);
        commit(kernel, stall);
    }
    return actions;
}

/* After the first answers nothing is done for a queue that always has an entry. */
static void test_quiet(void)
{
    FsStall stall;
    Kernel kernel;
    unsigned actions = 0;

    kernel_init(&kernel, &stall, 4);
    arrive(&kernel, &stall);
    commit(&kernel, &stall);
    while (stall.exhausted) {
        actions |= tick(&kernel, &stall);
    }
    g_assert_cmpuint(actions, ==, 0);
    for (unsigned i = 0; i < 100; i++) {
        arrive(&kernel, &stall);
        arrive(&kernel, &stall);
        g_assert_cmpuint(tick(&kernel, &stall), ==, 0);
        commit(&kernel, &stall);
        commit(&kernel, &stall);
        g_assert_false(stall.exhausted);
    }
    g_array_unref(kernel.free_entries);
}

/* Every entry is held for ever: whatever waits comes out, without an answer to any. */
static void test_all_held(void)
{
    FsStall stall;
    Kernel kernel;
    unsigned ticks = 0;

    kernel_init(&kernel, &stall, 4);
    for (unsigned i = 0; i < 24; i++) {
        arrive(&kernel, &stall);
    }
    g_assert_cmpuint(kernel.waiting, ==, 20);
    while (kernel.waiting > 0) {
        tick(&kernel, &stall);
        g_assert_cmpuint(++ticks, <, 100);
    }
    /* and then it is quiet, with an entry for the next */
    while (stall.exhausted) {
        tick(&kernel, &stall);
        g_assert_cmpuint(++ticks, <, 200);
    }
    g_assert_cmpuint(kernel.free_entries->len, ==, 1);
    g_array_unref(kernel.free_entries);
}

/* Entries that were added while requests waited do not hide them. */
static void test_free_entries_and_waiting(void)
{
    FsStall stall;
    Kernel kernel;
    unsigned ticks = 0;

    kernel_init(&kernel, &stall, 1);
    for (unsigned i = 0; i < 6; i++) {
        arrive(&kernel, &stall);
    }
    for (unsigned i = 0; i < 3; i++) {
        register_entry(&kernel, &stall);
    }
    while (kernel.waiting > 0) {
        tick(&kernel, &stall);
        g_assert_cmpuint(++ticks, <, 100);
    }
    g_array_unref(kernel.free_entries);
}

/* Nor do those that are added for filled ones which the owner sees one by one. */
static void test_added_before_the_last_is_seen(void)
{
    FsStall stall;
    Kernel kernel;
    uint64_t filled[4];
    unsigned ticks = 0;

    kernel_init(&kernel, &stall, G_N_ELEMENTS(filled));
    arrive(&kernel, &stall);
    commit(&kernel, &stall);
    while (stall.exhausted) {
        tick(&kernel, &stall);
    }
    /* more arrive than there are entries, before any is seen; each is held, and another added */
    memcpy(filled, kernel.free_entries->data, sizeof(filled));
    g_array_set_size(kernel.free_entries, 0);
    kernel.waiting = 3;
    for (unsigned i = 0; i < G_N_ELEMENTS(filled); i++) {
        fs_stall_filled(&stall, filled[i]);
        register_entry(&kernel, &stall);
    }
    while (kernel.waiting > 0) {
        tick(&kernel, &stall);
        g_assert_cmpuint(++ticks, <, 100);
    }
    while (stall.exhausted) {
        tick(&kernel, &stall);
        g_assert_cmpuint(++ticks, <, 200);
    }
    g_array_unref(kernel.free_entries);
}

/* Many more requests than entries, but answers follow: nothing is needed. */
static void test_busy(void)
{
    FsStall stall;
    Kernel kernel;

    kernel_init(&kernel, &stall, 2);
    for (unsigned i = 0; i < 50; i++) {
        arrive(&kernel, &stall);
    }
    for (unsigned i = 0; i < 100; i++) {
        commit(&kernel, &stall);
        arrive(&kernel, &stall);
        g_assert_cmpuint(tick(&kernel, &stall), ==, 0);
        g_assert_true(stall.exhausted);
    }
    g_array_unref(kernel.free_entries);
}

/* Requests that a disk has are waited for, long, and not for ever. */
static void test_patience(void)
{
    FsStall stall;
    Kernel kernel;
    int64_t since;

    kernel_init(&kernel, &stall, 2);
    kernel.patient = true;
    for (unsigned i = 0; i < 10; i++) {
        arrive(&kernel, &stall);
    }
    /* an answer now and then is enough */
    for (unsigned i = 0; i < 1000; i++) {
        g_assert_cmpuint(tick(&kernel, &stall), ==, 0);
        if (i % 50 == 0) {
            commit(&kernel, &stall);
            arrive(&kernel, &stall);
        }
    }
    g_assert_cmpuint(kernel.waiting, ==, 8);
    /* without any, each that waits comes out after the same time */
    commit(&kernel, &stall);
    arrive(&kernel, &stall);
    while (kernel.waiting > 0) {
        const unsigned waiting = kernel.waiting;
        since = kernel.now_ns;
        while (tick(&kernel, &stall) == 0) {
            g_assert_cmpint(kernel.now_ns - since, <, 2 * FS_STALL_PATIENCE_NS);
        }
        g_assert_cmpuint(kernel.waiting, ==, waiting - 1);
        g_assert_cmpint(kernel.now_ns - since, >=, FS_STALL_PATIENCE_NS);
    }
    /* those that are left wait for another request, which comes at once */
    arrive(&kernel, &stall);
    arrive(&kernel, &stall);
    kernel.patient = false;
    while (kernel.waiting > 0) {
        since = kernel.now_ns;
        tick(&kernel, &stall);
        g_assert_cmpint(kernel.now_ns - since, <, FS_STALL_PATIENCE_NS / 10);
    }
    g_array_unref(kernel.free_entries);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stall/quiet", test_quiet);
    g_test_add_func("/stall/all-held", test_all_held);
    g_test_add_func("/stall/free-entries-and-waiting", test_free_entries_and_waiting);
    g_test_add_func("/stall/added-before-the-last-is-seen", test_added_before_the_last_is_seen);
    g_test_add_func("/stall/busy", test_busy);
    g_test_add_func("/stall/patience", test_patience);
    return g_test_run();
}
