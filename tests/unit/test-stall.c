/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait in a queue of FUSE over io_uring (fs/transport/stall.c). */
#include "fs/transport/stall.h"

#include <glib.h>

/* A queue as the kernel keeps it: what waits, and the number of each free entry. */
typedef struct Kernel {
    unsigned waiting;
    GArray *free_entries; /* of uint64_t */
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
    kernel->waiting = 0;
    kernel->free_entries = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    fs_stall_init(stall);
    for (unsigned i = 0; i < entries; i++) {
        register_entry(kernel, stall);
    }
}

/* One tick, and what it asks for. Returns the actions. */
static unsigned tick(Kernel *kernel, FsStall *stall)
{
    unsigned actions = fs_stall_tick(stall);

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stall/quiet", test_quiet);
    g_test_add_func("/stall/all-held", test_all_held);
    g_test_add_func("/stall/free-entries-and-waiting", test_free_entries_and_waiting);
    g_test_add_func("/stall/busy", test_busy);
    return g_test_run();
}
