/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Statistics for people and for Prometheus, also those of a daemon that means no good. */
#include <string.h>

#include <glib.h>
#include <json-glib/json-glib.h>

#include "tools/sluicefs/json-text.h"
#include "tools/sluicefs/stats-format.h"

#define NASTY "\xff\x1b[31m\"\\\n\xc2\x9b"

static JsonObject *times(void)
{
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "count", 2);
    json_object_set_int_member(object, "sum_ns", 3000);
    return object;
}

static JsonObject *child_with(const char *name, JsonObject *value)
{
    JsonObject *object = json_object_new();

    if (value != NULL) {
        json_object_set_object_member(object, name, value);
    } else {
        json_object_set_int_member(object, name, 7);
    }
    return object;
}

/* A daemon whose strings all are @text. */
static JsonObject *statistics(const char *text)
{
    JsonObject *object = json_object_new(), *status = json_object_new();

    json_object_set_string_member(status, "source", text);
    json_object_set_string_member(status, "mountpoint", text);
    json_object_set_object_member(object, "status", status);
    json_object_set_object_member(object, "operations", child_with(text, times()));
    json_object_set_object_member(object, "counters", child_with(text, NULL));
    json_object_set_object_member(object, "backend", child_with(text, NULL));
    json_object_set_object_member(object, "queue", times());
    return object;
}

static void assert_harmless(const char *text)
{
    g_assert_true(g_utf8_validate(text, -1, NULL));
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p)) {
        g_assert_true(*p == '\n' || !g_unichar_iscntrl(g_utf8_get_char(p)));
    }
}

static void test_text(void)
{
    g_autoptr(JsonObject) plain = statistics("name"), nasty = statistics(NASTY);
    g_autofree char *text = stats_format_text(plain);
    g_autofree char *harmless = stats_format_text(nasty);

    g_assert_nonnull(strstr(text, "name on name: process 0"));
    g_assert_nonnull(strstr(text, "  name                              7\n"));
    assert_harmless(harmless);
    g_assert_nonnull(strstr(harmless, "\\xff\\x1b[31m\"\\x5c\\x0a"));
}

static void test_change(void)
{
    g_autoptr(JsonObject) before = json_object_new(), nasty = statistics(NASTY);
    g_autofree char *text = stats_format_change(before, nasty, 1);

    assert_harmless(text);
    g_assert_nonnull(strstr(text, "\\xff\\x1b[31m"));
}

/* Each line is a comment or ends in its value; a label's value has the three escapes there are. */
static void test_prometheus(void)
{
    g_autoptr(JsonObject) nasty = statistics(NASTY);
    g_autofree char *text = stats_format_prometheus(nasty);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    assert_harmless(text);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0' && !g_str_has_prefix(*line, "# TYPE ")) {
            const char *value = strrchr(*line, ' ');

            g_assert_nonnull(value);
            g_assert_cmpfloat(g_ascii_strtod(value, NULL), >=, 0);
            g_assert_nonnull(strstr(*line, "mountpoint=\"\uFFFD\uFFFD[31m\\\"\\\\\\n\uFFFD\""));
        }
    }
}

static void test_json_text(void)
{
    g_autoptr(JsonObject) object = json_object_new();

    json_text_set(object, "good", "gut \xc3\xa4");
    json_text_set(object, "bad", "a\xff");
    json_text_set(object, "none", NULL);
    g_assert_cmpstr(json_object_get_string_member(object, "good"), ==, "gut \xc3\xa4");
    g_assert_cmpstr(json_object_get_string_member(object, "bad"), ==, "a\uFFFD");
    g_assert_true(json_object_get_null_member(object, "none"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stats-format/text", test_text);
    g_test_add_func("/stats-format/change", test_change);
    g_test_add_func("/stats-format/prometheus", test_prometheus);
    g_test_add_func("/stats-format/json-text", test_json_text);
    return g_test_run();
}
