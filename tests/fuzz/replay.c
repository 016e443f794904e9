/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A harness as a test: plays every file of the corpus, then the same changes of them each time.
 *
 *     test-fuzz-NAME CORPUS_DIRECTORY     TAP; the changes end after a few seconds
 *     test-fuzz-NAME FILE...              plays files, for example one that libFuzzer has left
 *
 * Which changes come after each other is always the same, how far they get in the time is not. To
 * find the one that crashes, run it again with SLUICE_FUZZ_KEEP=FILE: every input is written there
 * before it is played.
 */
#include <string.h>

#include "fuzz.h"

#define ROUNDS      20000u
#define SECONDS_MAX 2
#define CHANGES_MAX 6

typedef struct Corpus {
    GPtrArray *names;  /* sorted: the changes depend on the order */
    GPtrArray *inputs; /* of GBytes */
} Corpus;

static void add_file(Corpus *corpus, const char *path)
{
    g_autoptr(GError) error = NULL;
    char *content;
    gsize length;

    g_file_get_contents(path, &content, &length, &error);
    g_assert_no_error(error);
    g_ptr_array_add(corpus->names, g_strdup(path));
    g_ptr_array_add(corpus->inputs, g_bytes_new_take(content, length));
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_directory(Corpus *corpus, const char *path)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) directory = g_dir_open(path, 0, &error);
    const char *name;

    g_assert_no_error(error);
    while ((name = g_dir_read_name(directory)) != NULL) {
        g_ptr_array_add(names, g_build_filename(path, name, NULL));
    }
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++) {
        add_file(corpus, g_ptr_array_index(names, i));
    }
}

/* An input of its own allocation, so that a sanitizer sees its end. */
static void play(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *exact = g_memdup2(data, size);
    static const uint8_t nothing[1];
    const char *keep = g_getenv("SLUICE_FUZZ_KEEP");

    if (keep != NULL) {
        g_file_set_contents(keep, (const char *)data, (gssize)size, NULL);
    }
    LLVMFuzzerTestOneInput(exact != NULL ? exact : nothing, size);
}

static void test_corpus(gconstpointer opaque)
{
    const Corpus *corpus = opaque;

    for (guint i = 0; i < corpus->inputs->len; i++) {
        gsize size;
        const uint8_t *data = g_bytes_get_data(g_ptr_array_index(corpus->inputs, i), &size);

        g_test_message("%s", (const char *)g_ptr_array_index(corpus->names, i));
        play(data, size);
    }
    play((const uint8_t *)"", 0);
}

/* A place for a change: mostly at or near a byte that is not zero, where something is. */
static size_t choose_place(GRand *random, const uint8_t *data, size_t size)
{
    size_t at = g_rand_int(random) % size;

    if (g_rand_int_range(random, 0, 4) > 0) {
        for (size_t i = 0; i < size && data[at] == 0; i++) {
            at = (at + 1) % size;
        }
    }
    return at;
}

/* Put a number that is at a limit of something. */
static void put_number(GRand *random, uint8_t *data, size_t size, size_t at)
{
    static const uint64_t numbers[] = {
        0,
        1,
        2,
        7,
        9,
        21,
        63,
        64,
        127,
        128,
        255,
        256,
        511,
        512,
        4095,
        4096,
        65535,
        65536,
        INT32_MAX,
        UINT32_MAX,
        UINT64_C(1) << 32,
        UINT64_C(1) << 55,
        UINT64_C(1) << 56,
        UINT64_C(1) << 62,
        INT64_MAX,
        UINT64_C(1) << 63,
        UINT64_MAX - 511,
        UINT64_MAX,
    };
    const unsigned width = 1u << g_rand_int_range(random, 0, 4);
    const bool big = g_rand_boolean(random);
    uint64_t value = numbers[g_rand_int_range(random, 0, G_N_ELEMENTS(numbers))];

    at &= ~(size_t)(width - 1);
    for (unsigned i = 0; i < width && at + i < size; i++) {
        data[at + (big ? width - 1 - i : i)] = (uint8_t)(value >> 8 * i);
    }
}

static void change(GRand *random, uint8_t *data, size_t *size)
{
    const size_t at = choose_place(random, data, *size);
    const size_t some = (size_t)1 << g_rand_int_range(random, 0, 7);

    switch (g_rand_int_range(random, 0, 8)) {
    case 0:
    case 1:
        data[at] ^= (uint8_t)(1u << g_rand_int_range(random, 0, 8));
        break;
    case 2:
        data[at] = (uint8_t)g_rand_int(random);
        break;
    case 3:
        data[at] = (uint8_t)(data[at] + (g_rand_boolean(random) ? 1 : 255));
        break;
    case 4:
    case 5:
        if (*size >= 8) {
            put_number(random, data, *size & ~(size_t)7, at % (*size & ~(size_t)7));
        }
        break;
    case 6: { /* something from elsewhere */
        const size_t from = choose_place(random, data, *size);

        memmove(data + at, data + from, MIN(*size - MAX(at, from), some));
        break;
    }
    default:
        if (g_rand_int_range(random, 0, 4) == 0) {
            *size = 1 + at;
        } else {
            memset(data + at, 0, MIN(*size - at, some));
        }
        break;
    }
}

static void test_changes(gconstpointer opaque)
{
    const Corpus *corpus = opaque;
    const gint64 deadline = g_get_monotonic_time() + SECONDS_MAX * G_USEC_PER_SEC;
    GRand *random = g_rand_new_with_seed(5);
    unsigned round;

    for (round = 0; round < ROUNDS && g_get_monotonic_time() < deadline; round++) {
        gsize size;
        const uint8_t *good =
            g_bytes_get_data(g_ptr_array_index(corpus->inputs, round % corpus->inputs->len), &size);
        g_autofree uint8_t *data = g_memdup2(good, size);
        const int changes = g_rand_int_range(random, 1, CHANGES_MAX + 1);

        for (int i = 0; i < changes && size > 0; i++) {
            change(random, data, &size);
        }
        play(data, size);
    }
    g_test_message("%u changed inputs", round);
    g_rand_free(random);
}

int main(int argc, char **argv)
{
    Corpus corpus = {
        .names = g_ptr_array_new_with_free_func(g_free),
        .inputs = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref),
    };
    int status;

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, >=, 2);
    for (int i = 1; i < argc; i++) {
        if (g_file_test(argv[i], G_FILE_TEST_IS_DIR)) {
            add_directory(&corpus, argv[i]);
        } else {
            add_file(&corpus, argv[i]);
        }
    }
    g_assert_cmpuint(corpus.inputs->len, >, 0);
    fuzz_context();
    g_test_add_data_func("/corpus", &corpus, test_corpus);
    if (g_file_test(argv[1], G_FILE_TEST_IS_DIR)) {
        g_test_add_data_func("/changes", &corpus, test_changes);
    }
    status = g_test_run();
    g_ptr_array_unref(corpus.names);
    g_ptr_array_unref(corpus.inputs);
    aio_context_free(fuzz_context());
    return status;
}
