/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What fs/ext4 keeps in memory: blocks of files against a model, names, and their limits. */
#include <pthread.h>
#include <string.h>

#include <glib.h>

#include "fs/ext4/names.h"
#include "fs/ext4/runs.h"

#define PIECES      300u
#define PIECE_WIDE  64u
#define NAMES       2000u
#define NAMES_LIMIT (64u * 1024)

/* --- blocks --- */

/* Block @logical of the model: what it is, and where. */
static Ext4RunKind model_kind(uint64_t logical)
{
    return (Ext4RunKind)(logical / 3 % 4);
}

static uint64_t model_physical(uint64_t logical)
{
    return logical / 6 % 2 == 0 ? 1000 + logical : 900000 - logical;
}

static void make_piece(Ext4Piece *piece, uint64_t first, unsigned count)
{
    g_assert_cmpint(ext4_piece_init(piece, count), ==, 0);
    for (uint64_t at = first; at < first + count; at++) {
        ext4_piece_append(piece, at, 1, model_kind(at), model_physical(at));
    }
}

static void check_run(const Ext4KnownRun *run, uint64_t logical)
{
    g_assert_cmpuint(run->logical, ==, logical);
    g_assert_cmpuint(run->length, >, 0);
    for (uint64_t i = 0; i < run->length; i++) {
        g_assert_cmpint(run->kind, ==, model_kind(logical + i));
        if (run->kind == EXT4_RUN_DATA || run->kind == EXT4_RUN_UNWRITTEN) {
            g_assert_cmpuint(run->physical + i, ==, model_physical(logical + i));
        }
    }
}

static void test_runs(void)
{
    Ext4Runs *runs = ext4_runs_new();
    bool known[PIECES] = {false};
    size_t bytes = 0;
    GRand *random = g_rand_new_with_seed(7);
    Ext4KnownRun run;

    for (unsigned i = 0; i < PIECES * 4; i++) {
        const unsigned which = (unsigned)g_rand_int_range(random, 0, PIECES);
        const uint64_t asked =
            which * PIECE_WIDE + (unsigned)g_rand_int_range(random, 0, PIECE_WIDE);
        Ext4Piece piece;

        g_assert_cmpint(ext4_runs_find(runs, asked, &run), ==, known[which]);
        if (known[which]) {
            check_run(&run, asked);
        }
        make_piece(&piece, which * PIECE_WIDE, PIECE_WIDE);
        const size_t now = ext4_runs_add(runs, &piece);
        g_assert_cmpint(now > 0, ==, !known[which]);
        bytes = MAX(bytes, now);
        known[which] = true;
        ext4_piece_clear(&piece);
    }
    g_assert_cmpuint(bytes, <, 1 << 20);
    g_assert_false(ext4_runs_find(runs, PIECES * PIECE_WIDE, &run));
    ext4_runs_free(runs);
    g_rand_free(random);
}

/* A file in a million pieces takes no more than it may. */
static void test_runs_limit(void)
{
    Ext4Runs *runs = ext4_runs_new();
    Ext4KnownRun run;

    for (uint64_t at = 0; at < 400000; at += 1000) {
        Ext4Piece piece;

        g_assert_cmpint(ext4_piece_init(&piece, 1000), ==, 0);
        for (uint64_t i = 0; i < 1000; i++) {
            ext4_piece_append(&piece, at + i, 1, EXT4_RUN_DATA, (at + i) * 2 + 1);
        }
        g_assert_cmpuint(piece.count, ==, 1000);
        g_assert_cmpuint(ext4_runs_add(runs, &piece), <=, 4u << 20);
        g_assert_true(ext4_runs_find(runs, at + 999, &run));
        g_assert_cmpuint(run.physical, ==, (at + 999) * 2 + 1);
        ext4_piece_clear(&piece);
    }
    g_assert_false(ext4_runs_find(runs, 0, &run));
    ext4_runs_free(runs);
}

static void test_piece_merges(void)
{
    Ext4Piece piece;
    Ext4KnownRun run;

    g_assert_cmpint(ext4_piece_init(&piece, 4), ==, 0);
    ext4_piece_append(&piece, 10, 32768, EXT4_RUN_DATA, 500);
    ext4_piece_append(&piece, 32778, 32768, EXT4_RUN_DATA, 33268);
    ext4_piece_append(&piece, 65546, 4, EXT4_RUN_UNWRITTEN, 66036);
    ext4_piece_append(&piece, 65550, 1, EXT4_RUN_HOLE, 0);
    ext4_piece_append(&piece, 65551, 9, EXT4_RUN_HOLE, 7);
    g_assert_cmpuint(piece.count, ==, 3);
    g_assert_true(ext4_piece_find(&piece, 32778, &run));
    g_assert_cmpuint(run.physical, ==, 33268);
    g_assert_cmpuint(run.length, ==, 32768);
    g_assert_false(ext4_piece_find(&piece, 9, &run));
    g_assert_true(ext4_piece_find(&piece, 65559, &run));
    g_assert_cmpuint(run.length, ==, 1);
    g_assert_false(ext4_piece_find(&piece, 65560, &run));
    ext4_piece_clear(&piece);
}

/* --- names --- */

static void test_names(void)
{
    Ext4Cache *names = ext4_names_new(NAMES_LIMIT);
    uint64_t hits, misses, bytes;
    unsigned found = 0;
    uint32_t ino;

    g_assert_false(ext4_names_find(names, 2, "name", &ino));
    ext4_names_add(names, 2, "name", 12);
    ext4_names_add(names, 2, "absent", 0);
    ext4_names_add(names, 3, "name", 13);
    g_assert_true(ext4_names_find(names, 2, "name", &ino));
    g_assert_cmpuint(ino, ==, 12);
    g_assert_true(ext4_names_find(names, 3, "name", &ino));
    g_assert_cmpuint(ino, ==, 13);
    g_assert_true(ext4_names_find(names, 2, "absent", &ino));
    g_assert_cmpuint(ino, ==, 0);
    g_assert_false(ext4_names_find(names, 3, "absent", &ino));
    for (unsigned i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("a-rather-long-name-for-number-%u", i);

        ext4_names_add(names, 4, name, i + 1);
        g_assert_true(ext4_names_find(names, 4, name, &ino));
        g_assert_cmpuint(ino, ==, i + 1);
        g_assert_true(ext4_names_find(names, 4, "a-rather-long-name-for-number-0", &ino));
        g_assert_cmpuint(ino, ==, 1); /* used all the time, it stays */
    }
    for (unsigned i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("a-rather-long-name-for-number-%u", i);

        found += ext4_names_find(names, 4, name, &ino);
    }
    g_assert_cmpuint(found, >, 10);
    g_assert_cmpuint(found, <, NAMES / 2);
    ext4_cache_count(names, &hits, &misses, &bytes);
    g_assert_cmpuint(bytes, <=, NAMES_LIMIT);
    g_assert_cmpuint(hits, >=, 3 + NAMES * 2 + found);
    ext4_cache_free(names);
}

static void *use_names(void *opaque)
{
    for (unsigned i = 0; i < NAMES * 5; i++) {
        g_autofree char *name = g_strdup_printf("%u", i % 700);
        uint32_t ino;

        if (ext4_names_find(opaque, 2, name, &ino)) {
            g_assert_cmpuint(ino, ==, i % 700);
        }
        ext4_names_add(opaque, 2, name, i % 700);
    }
    return NULL;
}

static void *use_runs(void *opaque)
{
    for (unsigned i = 0; i < PIECES * 8; i++) {
        const uint64_t first = i * 7 % PIECES * PIECE_WIDE;
        Ext4KnownRun run;
        Ext4Piece piece;

        if (ext4_runs_find(opaque, first + 5, &run)) {
            check_run(&run, first + 5);
            continue;
        }
        make_piece(&piece, first, PIECE_WIDE);
        ext4_runs_add(opaque, &piece);
        ext4_piece_clear(&piece);
        g_assert_true(ext4_runs_find(opaque, first + 5, &run));
    }
    return NULL;
}

static void run_threads(void *(*function)(void *opaque), void *shared)
{
    pthread_t threads[4];

    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        g_assert_cmpint(pthread_create(&threads[i], NULL, function, shared), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        pthread_join(threads[i], NULL);
    }
}

static void test_threads(void)
{
    Ext4Cache *names = ext4_names_new(NAMES_LIMIT / 4);
    Ext4Runs *runs = ext4_runs_new();

    run_threads(use_names, names);
    run_threads(use_runs, runs);
    ext4_runs_free(runs);
    ext4_cache_free(names);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ext4-cache/runs", test_runs);
    g_test_add_func("/ext4-cache/runs-limit", test_runs_limit);
    g_test_add_func("/ext4-cache/piece-merges", test_piece_merges);
    g_test_add_func("/ext4-cache/names", test_names);
    g_test_add_func("/ext4-cache/threads", test_threads);
    return g_test_run();
}
