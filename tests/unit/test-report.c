/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Facts as text and as JSON, and the kernel asked for INIT. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <json-glib/json-glib.h>

#include "tools/sluicefs/fuse-probe.h"
#include "tools/sluicefs/report.h"

static const char *const words[] = {"one", "t\"wo", NULL};
static const char *const no_words[] = {NULL};

static Report *sample(void)
{
    Report *report = report_new();

    report_section(report, "first", "First");
    report_bool(report, "yes", "is it", true, "so it\nis");
    report_integer(report, "number", "how many", G_MAXINT64, NULL);
    report_section(report, "second", "Second");
    report_string(report, "text", "what", "a \\ \"b\"\x01 \xc3\xa4", NULL);
    report_string(report, "missing", "not known", NULL, NULL);
    report_list(report, "list", "several", words, NULL);
    report_list(report, "empty", "nothing", no_words, NULL);
    return report;
}

static void test_text(void)
{
    g_autoptr(Report) report = sample();
    g_autofree char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    report_print_text(report, stream);
    fclose(stream);
    g_assert_nonnull(strstr(text, "First\n  is it                     yes (so it\nis)\n"));
    g_assert_nonnull(strstr(text, "\n\nSecond\n"));
    g_assert_nonnull(strstr(text, "  not known                 unknown\n"));
    g_assert_nonnull(strstr(text, "  several                   one t\"wo\n"));
    g_assert_nonnull(strstr(text, "  nothing                   none\n"));
}

static void test_json(void)
{
    g_autoptr(Report) report = sample();
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    JsonObject *root, *first, *second;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    report_print_json(report, stream);
    fclose(stream);
    json_parser_load_from_data(parser, text, -1, &error);
    g_assert_no_error(error);
    root = json_node_get_object(json_parser_get_root(parser));
    first = json_object_get_object_member(root, "first");
    second = json_object_get_object_member(root, "second");
    g_assert_true(json_object_get_boolean_member(first, "yes"));
    g_assert_cmpint(json_object_get_int_member(first, "number"), ==, G_MAXINT64);
    g_assert_cmpstr(
        json_object_get_string_member(json_object_get_object_member(first, "notes"), "yes"), ==,
        "so it\nis");
    g_assert_cmpstr(json_object_get_string_member(second, "text"), ==, "a \\ \"b\"\x01 \xc3\xa4");
    g_assert_true(json_object_get_null_member(second, "missing"));
    g_assert_cmpstr(json_array_get_string_element(json_object_get_array_member(second, "list"), 1),
                    ==, "t\"wo");
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(second, "empty")), ==, 0);
}

/* Root with /dev/fuse gets INIT; who does not, learns at which step it failed. */
static void test_fuse_probe(void)
{
    FuseProbe probe;

    fuse_probe(&probe);
    if (!probe.known) {
        g_assert_cmpint(probe.error, !=, 0);
        g_assert_nonnull(probe.step);
        g_test_skip("the kernel could not be asked");
        return;
    }
    g_assert_cmpuint(probe.major, ==, 7);
    g_assert_cmpuint(probe.minor, >=, 31);
    g_assert_true((probe.flags & 1) != 0); /* ASYNC_READ, offered by every kernel since 2.6.15 */
}

static void test_flag_names(void)
{
    g_assert_cmpstr(fuse_probe_flag_name(0), ==, "ASYNC_READ");
    g_assert_cmpstr(fuse_probe_flag_name(30), ==, "INIT_EXT");
    g_assert_cmpstr(fuse_probe_flag_name(37), ==, "PASSTHROUGH");
    g_assert_cmpstr(fuse_probe_flag_name(42), ==, "REQUEST_TIMEOUT");
    g_assert_null(fuse_probe_flag_name(63));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/report/text", test_text);
    g_test_add_func("/report/json", test_json);
    g_test_add_func("/fuse-probe/ask", test_fuse_probe);
    g_test_add_func("/fuse-probe/flag-names", test_flag_names);
    return g_test_run();
}
