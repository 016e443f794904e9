/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* I/O vectors (aio/iov.c). */
#include "aio/iov.h"

#include <string.h>

#include <glib.h>

static void test_length(void)
{
    struct iovec iov[3] = {{NULL, 10}, {NULL, 0}, {NULL, 32}};
    g_assert_cmpuint(aio_iov_length(iov, 0), ==, 0);
    g_assert_cmpuint(aio_iov_length(iov, 3), ==, 42);
    iov[1].iov_len = SIZE_MAX - 42;
    g_assert_cmpuint(aio_iov_length(iov, 3), ==, SIZE_MAX);
    iov[1].iov_len = SIZE_MAX - 41;
    g_assert_cmpuint(aio_iov_length(iov, 3), ==, UINT64_MAX);
    iov[1].iov_len = SIZE_MAX;
    g_assert_cmpuint(aio_iov_length(iov, 3), ==, UINT64_MAX);
}

static void test_is_aligned(void)
{
    struct iovec iov[2] = {{(void *)4096, 512}, {(void *)8192, 1024}};
    g_assert_true(aio_iov_is_aligned(iov, 0, 512));
    g_assert_true(aio_iov_is_aligned(iov, 2, 512));
    g_assert_false(aio_iov_is_aligned(iov, 2, 4096));
    iov[1].iov_base = (void *)8193;
    g_assert_true(aio_iov_is_aligned(iov, 1, 512));
    g_assert_false(aio_iov_is_aligned(iov, 2, 512));
}

static void test_copy(void)
{
    char text[] = "abcdefghij", buf[11] = "";
    struct iovec iov[4] = {{text, 3}, {NULL, 0}, {text + 3, 1}, {text + 4, 6}};

    aio_iov_to_buf(iov, 4, buf);
    g_assert_cmpstr(buf, ==, "abcdefghij");
    aio_iov_from_buf(iov, 4, 0, "ABCDE", 5);
    g_assert_cmpstr(text, ==, "ABCDEfghij");
    aio_iov_from_buf(iov, 3, 0, "0123456789", 10); /* the vector ends first */
    g_assert_cmpstr(text, ==, "0123Efghij");
    aio_iov_from_buf(iov, 4, 0, NULL, 0);
    g_assert_cmpstr(text, ==, "0123Efghij");
    aio_iov_from_buf(iov, 4, 2, "xyz", 3); /* three elements */
    g_assert_cmpstr(text, ==, "01xyzfghij");
    aio_iov_from_buf(iov, 4, 9, "!?", 2);
    g_assert_cmpstr(text, ==, "01xyzfghi!");
    aio_iov_from_buf(iov, 4, 10, "?", 1);
    g_assert_cmpstr(text, ==, "01xyzfghi!");
}

static void test_zero_from(void)
{
    for (unsigned offset = 0; offset <= 12; offset++) {
        char text[10];
        struct iovec iov[4] = {{text, 3}, {NULL, 0}, {text + 3, 1}, {text + 4, 6}};
        memset(text, 'x', sizeof(text));
        aio_iov_zero(iov, 4, offset, UINT64_MAX);
        for (unsigned i = 0; i < 10; i++) {
            g_assert_cmpint(text[i], ==, i < offset ? 'x' : 0);
        }
    }
}

static void test_zero_part(void)
{
    for (unsigned offset = 0; offset <= 10; offset++) {
        for (unsigned size = 0; size <= 11; size++) {
            char text[10];
            struct iovec iov[4] = {{text, 3}, {NULL, 0}, {text + 3, 1}, {text + 4, 6}};
            memset(text, 'x', sizeof(text));
            aio_iov_zero(iov, 4, offset, size);
            for (unsigned i = 0; i < 10; i++) {
                g_assert_cmpint(text[i], ==, i < offset || i >= offset + size ? 'x' : 0);
            }
        }
    }
}

static void test_slice(void)
{
    char text[] = "abcdefghij";
    struct iovec iov[4] = {{text, 3}, {NULL, 0}, {text + 3, 1}, {text + 4, 6}};

    for (unsigned offset = 0; offset <= 10; offset++) {
        for (unsigned size = 0; size <= 11; size++) {
            struct iovec out[4];
            const unsigned used = aio_iov_slice(iov, 4, offset, size, out);
            const char *next = text + offset;

            g_assert_cmpuint(aio_iov_length(out, used), ==, MIN(size, 10 - offset));
            for (unsigned i = 0; i < used; i++) {
                g_assert_cmpuint(out[i].iov_len, >, 0);
                g_assert_true(out[i].iov_base == next);
                next += out[i].iov_len;
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/iov/length", test_length);
    g_test_add_func("/iov/is-aligned", test_is_aligned);
    g_test_add_func("/iov/copy", test_copy);
    g_test_add_func("/iov/zero-from", test_zero_from);
    g_test_add_func("/iov/zero-part", test_zero_part);
    g_test_add_func("/iov/slice", test_slice);
    return g_test_run();
}
