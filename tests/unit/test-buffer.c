/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Page-aligned buffers (aio/buffer.c). */
#include "aio/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <glib.h>

#define MIB ((size_t)1024 * 1024)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes of [start, start + size) that have a page in memory. */
static size_t resident(const void *start, size_t size)
{
    size_t pages = size / page_size();
    unsigned char *map = g_malloc(pages);
    g_assert_cmpint(mincore((void *)(uintptr_t)start, size, map), ==, 0);
    size_t count = 0;
    for (size_t i = 0; i < pages; i++) {
        count += map[i] & 1;
    }
    g_free(map);
    return count * page_size();
}

static void test_layout(void)
{
    const size_t headrooms[] = {0, 1, 40, 4095, 4096, 10000};
    for (size_t i = 0; i < G_N_ELEMENTS(headrooms); i++) {
        AioBufferPool *pool = aio_buffer_pool_new(MIB + 1, headrooms[i], 2);
        char *buffers[4];
        for (size_t b = 0; b < G_N_ELEMENTS(buffers); b++) {
            buffers[b] = aio_buffer_get(pool);
            g_assert_nonnull(buffers[b]);
            g_assert_cmpuint((uintptr_t)buffers[b] % page_size(), ==, 0);
            /* All of it is writable, from the headroom to the rounded end. */
            memset(buffers[b] - headrooms[i], (int)b, headrooms[i] + MIB + page_size());
        }
        for (size_t b = 0; b < G_N_ELEMENTS(buffers); b++) {
            for (size_t at = 0; at < MIB; at += 4096) {
                g_assert_cmpint(buffers[b][at], ==, (int)b);
            }
            aio_buffer_put(pool, buffers[b], MIB);
        }
        aio_buffer_pool_free(pool);
    }
}

/* The warmest buffer comes first; only `keep` of them stay mapped. */
static void test_reuse(void)
{
    AioBufferPool *pool = aio_buffer_pool_new(4096, 0, 2);
    void *a = aio_buffer_get(pool);
    void *b = aio_buffer_get(pool);
    void *c = aio_buffer_get(pool);
    aio_buffer_put(pool, a, 100);
    aio_buffer_put(pool, b, 100);
    aio_buffer_put(pool, c, 100); /* one too many: unmapped */
    unsigned char state;
    g_assert_cmpint(mincore(c, page_size(), &state), ==, -1);

    g_assert_true(aio_buffer_get(pool) == b);
    g_assert_true(aio_buffer_get(pool) == a);
    aio_buffer_put(pool, a, 0);
    aio_buffer_put(pool, b, 0);
    aio_buffer_pool_free(pool);
}

/* A steady load of large requests keeps its pages; a small one gives them back. */
static void test_gives_pages_back(void)
{
    AioBufferPool *pool = aio_buffer_pool_new(MIB, 64, 4);
    char *buffer = aio_buffer_get(pool);
    memset(buffer, 1, MIB);
    aio_buffer_put(pool, buffer, MIB);
    for (int i = 0; i < 3 * AIO_BUFFER_TRIM_INTERVAL; i++) {
        g_assert_true(aio_buffer_get(pool) == buffer);
        aio_buffer_put(pool, buffer, MIB);
    }
    g_assert_cmpuint(resident(buffer, MIB), ==, MIB);

    for (int i = 0; i < 2 * AIO_BUFFER_TRIM_INTERVAL; i++) {
        g_assert_true(aio_buffer_get(pool) == buffer);
        aio_buffer_put(pool, buffer, 4096);
    }
    g_assert_cmpuint(resident(buffer, MIB), ==, AIO_BUFFER_RESIDENT);
    aio_buffer_pool_free(pool);
}

/* A buffer at the bottom of the list is looked at although nobody takes it. */
static void test_gives_idle_buffers_back(void)
{
    AioBufferPool *pool = aio_buffer_pool_new(MIB, 0, 4);
    char *idle = aio_buffer_get(pool);
    char *busy = aio_buffer_get(pool);
    memset(idle, 1, MIB);
    aio_buffer_put(pool, idle, MIB);
    aio_buffer_put(pool, busy, 0);
    for (int i = 0; i < 2 * AIO_BUFFER_TRIM_INTERVAL; i++) {
        g_assert_true(aio_buffer_get(pool) == busy);
        aio_buffer_put(pool, busy, 0);
    }
    g_assert_cmpuint(resident(idle, MIB), ==, AIO_BUFFER_RESIDENT);
    aio_buffer_pool_free(pool);
}

static void test_trim_now(void)
{
    AioBufferPool *pool = aio_buffer_pool_new(MIB, 0, 4);
    char *buffer = aio_buffer_get(pool);
    memset(buffer, 1, MIB);
    aio_buffer_put(pool, buffer, MIB);
    g_assert_cmpuint(resident(buffer, MIB), ==, MIB);
    aio_buffer_pool_trim(pool);
    g_assert_cmpuint(resident(buffer, MIB), ==, AIO_BUFFER_RESIDENT);
    aio_buffer_pool_free(pool);
}

/* What one thread needs no more, the other takes, and nobody keeps its own greatest number. */
static void test_depot(void)
{
    enum { COUNT = 2 * AIO_BUFFER_OWN_LARGE };
    AioBufferDepot *depot = aio_buffer_depot_new(MIB, 64, COUNT);
    AioBufferPool *a = aio_buffer_pool_new_at(depot, COUNT);
    AioBufferPool *b = aio_buffer_pool_new_at(depot, COUNT);
    char *buffers[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = aio_buffer_get(a);
        memset(buffers[i] - 64, 1, 64 + MIB);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        aio_buffer_put(a, buffers[i], MIB);
    }
    /* the last half of them lies at the depot */
    for (unsigned i = COUNT; i-- > AIO_BUFFER_OWN_LARGE;) {
        char *buffer = aio_buffer_get(b);
        g_assert_true(buffer == buffers[i]);
        g_assert_cmpuint(resident(buffer, MIB), ==, MIB);
        memset(buffer - 64, 2, 64 + MIB);
    }
    for (unsigned i = AIO_BUFFER_OWN_LARGE; i < COUNT; i++) {
        aio_buffer_put(b, buffers[i], 100); /* still large */
    }
    char *extra = aio_buffer_get(b);
    g_assert_true(extra == buffers[COUNT - 1]);
    aio_buffer_put(b, extra, 100);
    aio_buffer_pool_free(b);
    for (unsigned i = 0; i < AIO_BUFFER_OWN_LARGE; i++) {
        aio_buffer_get(a);
    }
    /* no other needs it, so it is new */
    extra = aio_buffer_get(a);
    g_assert_cmpuint(resident(extra, MIB), ==, 0);
    aio_buffer_put(a, extra, 0);
    for (unsigned i = 0; i < AIO_BUFFER_OWN_LARGE; i++) {
        aio_buffer_put(a, buffers[i], MIB);
    }
    aio_buffer_pool_free(a);
    aio_buffer_depot_free(depot);
}

/* A depot has a greatest number, and gives pages back as a pool does. */
static void test_depot_limits(void)
{
    enum { COUNT = AIO_BUFFER_OWN_LARGE + 2 };
    AioBufferDepot *depot = aio_buffer_depot_new(MIB, 0, 1);
    AioBufferPool *pool = aio_buffer_pool_new_at(depot, COUNT);
    char *buffers[COUNT];
    unsigned char state;

    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = aio_buffer_get(pool);
        memset(buffers[i], 1, MIB);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        aio_buffer_put(pool, buffers[i], MIB);
    }
    g_assert_cmpint(mincore(buffers[COUNT - 1], page_size(), &state), ==, -1); /* unmapped */
    char *left = buffers[COUNT - 2];
    g_assert_cmpuint(resident(left, MIB), ==, MIB);
    for (int i = 0; i < 2 * AIO_BUFFER_TRIM_INTERVAL; i++) {
        aio_buffer_put(pool, aio_buffer_get(pool), 0);
    }
    g_assert_cmpuint(resident(left, MIB), ==, AIO_BUFFER_RESIDENT);
    aio_buffer_pool_trim(pool);
    aio_buffer_pool_free(pool);
    aio_buffer_depot_free(depot);
}

static void test_alloc_aligned(void)
{
    const size_t alignments[] = {1, 2, 8, 512, 4096, 65536};
    for (size_t i = 0; i < G_N_ELEMENTS(alignments); i++) {
        char *memory = aio_buffer_alloc_aligned(alignments[i], 3 * alignments[i]);
        g_assert_nonnull(memory);
        g_assert_cmpuint((uintptr_t)memory % alignments[i], ==, 0);
        memset(memory, 0, 3 * alignments[i]);
        free(memory);
    }
    free(aio_buffer_alloc_aligned(512, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/buffer/layout", test_layout);
    g_test_add_func("/buffer/reuse", test_reuse);
    g_test_add_func("/buffer/gives-pages-back", test_gives_pages_back);
    g_test_add_func("/buffer/gives-idle-buffers-back", test_gives_idle_buffers_back);
    g_test_add_func("/buffer/trim-now", test_trim_now);
    g_test_add_func("/buffer/depot", test_depot);
    g_test_add_func("/buffer/depot-limits", test_depot_limits);
    g_test_add_func("/buffer/alloc-aligned", test_alloc_aligned);
    return g_test_run();
}
