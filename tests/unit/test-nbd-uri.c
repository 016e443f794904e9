/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of NBD servers: which they are, and what they are from another working directory. */
#include <glib.h>

#include "fs/block/nbd.h"

static void test_is_uri(void)
{
    static const char *const uris[] = {"nbd://host", "nbd+unix:///?socket=s", "nbds://host",
                                       "nbd+vsock://2/"};
    static const char *const files[] = {"nbd",      "nbd:",     "nbd.img",  "./nbd://x",
                                        "/nbd://x", "http://x", "nbd+unix", ""};

    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_assert_true(block_nbd_is_uri(uris[i]));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_assert_false(block_nbd_is_uri(files[i]));
    }
}

static void assert_absolute(const char *uri, const char *expected)
{
    g_autofree char *absolute = block_nbd_absolute_uri(uri);

    g_assert_cmpstr(absolute, ==, expected);
}

static void test_absolute(void)
{
    g_autofree char *here = g_get_current_dir();
    g_autofree char *encoded = g_uri_escape_string(here, "/", TRUE);
    g_autofree char *beside = g_strdup_printf("nbd+unix:///x?a=b&socket=%s/s&c=d", encoded);
    g_autofree char *blank = g_strdup_printf("nbd+unix:///?socket=%s/a%%20b%%26c", encoded);

    assert_absolute("nbd://host:10809/export", "nbd://host:10809/export");
    assert_absolute("nbd+unix:///?socket=/run/s", "nbd+unix:///?socket=/run/s");
    assert_absolute("nbd+unix:///?socket=%2Frun%2Fs", "nbd+unix:///?socket=/run/s");
    assert_absolute("nbd+unix:///x?a=b&socket=s&c=d", beside);
    assert_absolute("nbd+unix:///?socket=a%20b%26c", blank);
    assert_absolute("nbd+unix:///?socket=a%zz", "nbd+unix:///?socket=a%zz");
    assert_absolute("nbd+unix:///?", "nbd+unix:///?");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nbd-uri/is-uri", test_is_uri);
    g_test_add_func("/nbd-uri/absolute", test_absolute);
    return g_test_run();
}
