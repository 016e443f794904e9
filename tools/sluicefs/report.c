/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Facts in sections, printed as text for people or JSON for programs. */
#include "tools/sluicefs/report.h"

#include <string.h>

#include <json-glib/json-glib.h>

#define TITLE_WIDTH 26
#define LINE_WIDTH  80

typedef enum FactKind { FACT_SECTION, FACT_BOOL, FACT_INTEGER, FACT_STRING, FACT_LIST } FactKind;

typedef struct Fact {
    FactKind kind;
    char *key, *title, *note;
    gint64 number;
    char *text;
    char **words;
} Fact;

struct Report {
    GPtrArray *facts; /* of Fact */
};

static void fact_free(gpointer opaque)
{
    Fact *fact = opaque;

    g_free(fact->key);
    g_free(fact->title);
    g_free(fact->note);
    g_free(fact->text);
    g_strfreev(fact->words);
    g_free(fact);
}

Report *report_new(void)
{
    Report *report = g_new0(Report, 1);

    report->facts = g_ptr_array_new_with_free_func(fact_free);
    return report;
}

void report_free(Report *report)
{
    if (report != NULL) {
        g_ptr_array_unref(report->facts);
        g_free(report);
    }
}

static Fact *add_fact(Report *report, FactKind kind, const char *key, const char *title,
                      const char *note)
{
    Fact *fact = g_new0(Fact, 1);

    fact->kind = kind;
    fact->key = g_strdup(key);
    fact->title = g_strdup(title);
    fact->note = g_strdup(note);
    g_ptr_array_add(report->facts, fact);
    return fact;
}

void report_section(Report *report, const char *key, const char *title)
{
    add_fact(report, FACT_SECTION, key, title, NULL);
}

void report_bool(Report *report, const char *key, const char *title, bool value, const char *note)
{
    add_fact(report, FACT_BOOL, key, title, note)->number = value;
}

void report_integer(Report *report, const char *key, const char *title, gint64 value,
                    const char *note)
{
    add_fact(report, FACT_INTEGER, key, title, note)->number = value;
}

void report_string(Report *report, const char *key, const char *title, const char *value,
                   const char *note)
{
    add_fact(report, FACT_STRING, key, title, note)->text = g_strdup(value);
}

void report_list(Report *report, const char *key, const char *title, const char *const *words,
                 const char *note)
{
    add_fact(report, FACT_LIST, key, title, note)->words = g_strdupv((char **)words);
}

/* Words of a list, wrapped behind the column of titles. */
static void print_list(FILE *out, char *const *words)
{
    int column = TITLE_WIDTH + 2;

    for (char *const *word = words; *word != NULL; word++) {
        int length = (int)strlen(*word);

        if (word != words && column + 1 + length > LINE_WIDTH) {
            fprintf(out, "\n%*s", TITLE_WIDTH + 2, "");
            column = TITLE_WIDTH + 2;
        } else if (word != words) {
            fputc(' ', out);
            column++;
        }
        fputs(*word, out);
        column += length;
    }
    if (words[0] == NULL) {
        fputs("none", out);
    }
}

void report_print_text(const Report *report, FILE *out)
{
    for (guint i = 0; i < report->facts->len; i++) {
        const Fact *fact = g_ptr_array_index(report->facts, i);

        if (fact->kind == FACT_SECTION) {
            fprintf(out, "%s%s\n", i > 0 ? "\n" : "", fact->title);
            continue;
        }
        fprintf(out, "  %-*s", TITLE_WIDTH, fact->title);
        switch (fact->kind) {
        case FACT_BOOL:
            fputs(fact->number != 0 ? "yes" : "no", out);
            break;
        case FACT_INTEGER:
            fprintf(out, "%" G_GINT64_FORMAT, fact->number);
            break;
        case FACT_STRING:
            fputs(fact->text != NULL ? fact->text : "unknown", out);
            break;
        case FACT_LIST:
            print_list(out, fact->words);
            break;
        case FACT_SECTION:
            break;
        }
        if (fact->note != NULL) {
            fprintf(out, " (%s)", fact->note);
        }
        fputc('\n', out);
    }
}

static void build_value(JsonBuilder *builder, const Fact *fact)
{
    json_builder_set_member_name(builder, fact->key);
    switch (fact->kind) {
    case FACT_BOOL:
        json_builder_add_boolean_value(builder, fact->number != 0);
        break;
    case FACT_INTEGER:
        json_builder_add_int_value(builder, fact->number);
        break;
    case FACT_STRING:
        if (fact->text == NULL) {
            json_builder_add_null_value(builder);
        } else {
            json_builder_add_string_value(builder, fact->text);
        }
        break;
    case FACT_LIST:
        json_builder_begin_array(builder);
        for (char **word = fact->words; *word != NULL; word++) {
            json_builder_add_string_value(builder, *word);
        }
        json_builder_end_array(builder);
        break;
    case FACT_SECTION:
        break;
    }
}

/* One section: its facts, then the notes. Returns the index behind it. */
static guint build_section(JsonBuilder *builder, const Report *report, guint first)
{
    const Fact *section = g_ptr_array_index(report->facts, first);
    guint end = first + 1;

    json_builder_set_member_name(builder, section->key);
    json_builder_begin_object(builder);
    for (; end < report->facts->len; end++) {
        const Fact *fact = g_ptr_array_index(report->facts, end);

        if (fact->kind == FACT_SECTION) {
            break;
        }
        build_value(builder, fact);
    }
    json_builder_set_member_name(builder, "notes");
    json_builder_begin_object(builder);
    for (guint i = first + 1; i < end; i++) {
        const Fact *fact = g_ptr_array_index(report->facts, i);

        if (fact->note != NULL) {
            json_builder_set_member_name(builder, fact->key);
            json_builder_add_string_value(builder, fact->note);
        }
    }
    json_builder_end_object(builder);
    json_builder_end_object(builder);
    return end;
}

void report_print_json(const Report *report, FILE *out)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;

    json_builder_begin_object(builder);
    for (guint i = 0; i < report->facts->len;) {
        i = build_section(builder, report, i);
    }
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    json_generator_set_pretty(generator, TRUE);
    json_generator_set_root(generator, root);
    text = json_generator_to_data(generator, NULL);
    fprintf(out, "%s\n", text);
}
