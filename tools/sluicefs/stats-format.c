/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * What a daemon counts, made readable.
 *
 * The daemon may be another user's: members that are missing or of another
 * type count as zero, and its strings, names of members too, are made harmless.
 */
#include "tools/sluicefs/stats-format.h"

#include <stdbool.h>
#include <string.h>

#include "tools/sluicefs/printable.h"

/* Times beside those of the operations: member, and how help calls it. */
static const struct {
    const char *name, *title;
} ways[] = {
    {"queue", "waiting for a helper"},
    {"backing", "transfers below"},
    {"reply", "sending answers"},
};

static JsonObject *child(JsonObject *object, const char *name)
{
    JsonNode *node = object == NULL ? NULL : json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static gint64 number(JsonObject *object, const char *name)
{
    JsonNode *node = object == NULL ? NULL : json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_int(node) : 0;
}

static const char *text(JsonObject *object, const char *name)
{
    JsonNode *node = object == NULL ? NULL : json_object_get_member(object, name);
    const char *value =
        node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;

    return value == NULL ? "" : value;
}

char *stats_format_duration(double seconds)
{
    guint64 whole = (guint64)MAX(seconds, 0);

    if (seconds < 0) {
        return g_strdup("-");
    }
    if (whole >= 86400) {
        return g_strdup_printf("%" G_GUINT64_FORMAT "d%02uh", whole / 86400,
                               (unsigned)(whole % 86400 / 3600));
    }
    if (whole >= 3600) {
        return g_strdup_printf("%uh%02um", (unsigned)(whole / 3600), (unsigned)(whole % 3600 / 60));
    }
    if (whole >= 60) {
        return g_strdup_printf("%um%02us", (unsigned)(whole / 60), (unsigned)(whole % 60));
    }
    return g_strdup_printf("%us", (unsigned)whole);
}

char *stats_format_time(double nanoseconds)
{
    static const struct {
        double unit;
        const char *name;
    } units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};

    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (nanoseconds >= units[i].unit) {
            return g_strdup_printf("%.*f %s", nanoseconds < 10 * units[i].unit ? 2 : 1,
                                   nanoseconds / units[i].unit, units[i].name);
        }
    }
    return g_strdup_printf("%.0f ns", nanoseconds);
}

static double mean(JsonObject *times)
{
    gint64 count = number(times, "count");

    return count > 0 ? (double)number(times, "sum_ns") / (double)count : 0;
}

static void append_times(GString *out, const char *name, JsonObject *times)
{
    static const char *const members[] = {"p50_ns", "p99_ns", "p999_ns", "max_ns"};
    g_autofree char *average = stats_format_time(mean(times));
    g_autofree char *title = printable(name);

    g_string_append_printf(out, "%-22s %12" G_GINT64_FORMAT " %8" G_GINT64_FORMAT " %9s", title,
                           number(times, "count"), number(times, "errors"), average);
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        g_autofree char *value = stats_format_time((double)number(times, members[i]));

        g_string_append_printf(out, " %9s", value);
    }
    g_string_append_c(out, '\n');
}

static void append_counters(GString *out, JsonObject *counters)
{
    g_autoptr(GList) names = counters == NULL ? NULL : json_object_get_members(counters);

    for (GList *name = names; name != NULL; name = name->next) {
        gint64 value = number(counters, name->data);

        if (value != 0) {
            g_autofree char *title = printable(name->data);

            g_string_append_printf(out, "  %-20s %14" G_GINT64_FORMAT "\n", title, value);
        }
    }
}

char *stats_format_text(JsonObject *stats)
{
    JsonObject *status = child(stats, "status"), *operations = child(stats, "operations");
    JsonObject *counters = child(stats, "counters");
    GString *out = g_string_new(NULL);
    g_autoptr(GList) names = operations == NULL ? NULL : json_object_get_members(operations);
    g_autofree char *uptime = stats_format_duration((double)number(status, "uptime_seconds"));
    g_autofree char *source = printable(text(status, "source"));
    g_autofree char *mountpoint = printable(text(status, "mountpoint"));

    g_string_append_printf(
        out, "%s on %s: process %" G_GINT64_FORMAT ", %s, %" G_GINT64_FORMAT " workers\n\n", source,
        mountpoint, number(status, "pid"), uptime, number(status, "threads"));
    g_string_append_printf(out, "%-22s %12s %8s %9s %9s %9s %9s %9s\n", "operation", "count",
                           "errors", "mean", "median", "99 %", "99.9 %", "longest");
    for (GList *name = names; name != NULL; name = name->next) {
        append_times(out, name->data, child(operations, name->data));
    }
    g_string_append_c(out, '\n');
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (number(child(stats, ways[i].name), "count") > 0) {
            append_times(out, ways[i].title, child(stats, ways[i].name));
        }
    }
    if (number(counters, "submits") > 0) {
        g_string_append_printf(
            out, "\n%.2f SQEs a submission, %.2f CQEs a walk of the ring\n",
            (double)number(counters, "sqes") / (double)number(counters, "submits"),
            (double)number(counters, "cqes") / (double)MAX(number(counters, "reaps"), 1));
    }
    g_string_append(out, "\nCounters that are not zero:\n");
    append_counters(out, counters);
    append_counters(out, child(stats, "backend"));
    return g_string_free(out, FALSE);
}

/*
 * A label's value, escaped. The format has no escape for what is not UTF-8 or controls a
 * terminal: that becomes U+FFFD.
 */
static char *escape_label(const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    GString *out = g_string_new(NULL);

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c == '\n') {
            g_string_append(out, "\\n");
            continue;
        }
        if (c == '"' || c == '\\') {
            g_string_append_c(out, '\\');
        }
        g_string_append_unichar(out, g_unichar_iscntrl(c) ? 0xfffd : c);
    }
    return g_string_free(out, FALSE);
}

/* A name of ours or another user's; only what may be in a metric's name. */
static char *metric_name(const char *name)
{
    char *out = g_strdup(name);

    return g_strcanon(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", '_');
}

static void prometheus_counters(GString *out, JsonObject *counters, const char *label)
{
    g_autoptr(GList) names = counters == NULL ? NULL : json_object_get_members(counters);

    for (GList *name = names; name != NULL; name = name->next) {
        g_autofree char *metric = metric_name(name->data);
        /* Of all the counters only these can go down again. */
        bool gauge = strcmp(metric, "in_flight") == 0 || strcmp(metric, "inodes") == 0 ||
                     strcmp(metric, "handles") == 0;

        g_string_append_printf(out,
                               "# TYPE sluicefs_%s%s %s\n"
                               "sluicefs_%s%s{mountpoint=\"%s\"} %" G_GINT64_FORMAT "\n",
                               metric, gauge ? "" : "_total", gauge ? "gauge" : "counter", metric,
                               gauge ? "" : "_total", label, number(counters, name->data));
    }
}

static void prometheus_summary(GString *out, const char *metric, const char *labels,
                               JsonObject *times)
{
    static const struct {
        const char *member, *quantile;
    } points[] = {{"p50_ns", "0.5"}, {"p90_ns", "0.9"}, {"p99_ns", "0.99"}, {"p999_ns", "0.999"}};
    char seconds[G_ASCII_DTOSTR_BUF_SIZE];

    for (size_t i = 0; i < G_N_ELEMENTS(points); i++) {
        g_ascii_formatd(seconds, sizeof(seconds), "%.9f",
                        (double)number(times, points[i].member) / 1e9);
        g_string_append_printf(out, "%s{%s,quantile=\"%s\"} %s\n", metric, labels,
                               points[i].quantile, seconds);
    }
    g_ascii_formatd(seconds, sizeof(seconds), "%.9f", (double)number(times, "sum_ns") / 1e9);
    g_string_append_printf(out, "%s_sum{%s} %s\n%s_count{%s} %" G_GINT64_FORMAT "\n", metric,
                           labels, seconds, metric, labels, number(times, "count"));
}

char *stats_format_prometheus(JsonObject *stats)
{
    JsonObject *operations = child(stats, "operations");
    g_autofree char *label = escape_label(text(child(stats, "status"), "mountpoint"));
    g_autofree char *labels = g_strdup_printf("mountpoint=\"%s\"", label);
    g_autoptr(GList) names = operations == NULL ? NULL : json_object_get_members(operations);
    GString *out = g_string_new(NULL);

    prometheus_counters(out, child(stats, "counters"), label);
    prometheus_counters(out, child(stats, "backend"), label);
    g_string_append(out, "# TYPE sluicefs_operation_seconds summary\n");
    for (GList *name = names; name != NULL; name = name->next) {
        g_autofree char *operation = escape_label(name->data);
        g_autofree char *both = g_strdup_printf("%s,operation=\"%s\"", labels, operation);

        prometheus_summary(out, "sluicefs_operation_seconds", both, child(operations, name->data));
    }
    g_string_append(out, "# TYPE sluicefs_operation_errors_total counter\n");
    for (GList *name = names; name != NULL; name = name->next) {
        g_autofree char *operation = escape_label(name->data);

        g_string_append_printf(out,
                               "sluicefs_operation_errors_total{%s,operation=\"%s\"} "
                               "%" G_GINT64_FORMAT "\n",
                               labels, operation, number(child(operations, name->data), "errors"));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *metric = g_strdup_printf("sluicefs_%s_seconds", ways[i].name);

        g_string_append_printf(out, "# TYPE %s summary\n", metric);
        prometheus_summary(out, metric, labels, child(stats, ways[i].name));
    }
    return g_string_free(out, FALSE);
}

typedef struct Change {
    const char *name;
    gint64 count, sum_ns, errors;
} Change;

static int compare_changes(gconstpointer a, gconstpointer b)
{
    const Change *left = a, *right = b;

    return left->count > right->count ? -1 : left->count < right->count;
}

char *stats_format_change(JsonObject *before, JsonObject *after, double seconds)
{
    JsonObject *old = child(before, "operations"), *new = child(after, "operations");
    g_autoptr(GList) names = new == NULL ? NULL : json_object_get_members(new);
    g_autoptr(GArray) changes = g_array_new(FALSE, FALSE, sizeof(Change));
    GString *out = g_string_new(NULL);

    for (GList *name = names; name != NULL; name = name->next) {
        JsonObject *then = child(old, name->data), *now = child(new, name->data);
        Change change = {
            .name = name->data,
            .count = number(now, "count") - number(then, "count"),
            .sum_ns = number(now, "sum_ns") - number(then, "sum_ns"),
            .errors = number(now, "errors") - number(then, "errors"),
        };

        if (change.count > 0) {
            g_array_append_val(changes, change);
        }
    }
    g_array_sort(changes, compare_changes);
    g_string_append_printf(out, "%-22s %12s %10s %12s\n", "operation", "a second", "mean",
                           "errors/s");
    for (guint i = 0; i < changes->len; i++) {
        const Change *change = &g_array_index(changes, Change, i);
        g_autofree char *average =
            stats_format_time((double)change->sum_ns / (double)change->count);

        g_autofree char *title = printable(change->name);

        g_string_append_printf(out, "%-22s %12.1f %10s %12.1f\n", title,
                               (double)change->count / seconds, average,
                               (double)change->errors / seconds);
    }
    if (changes->len == 0) {
        g_string_append(out, "nothing\n");
    }
    return g_string_free(out, FALSE);
}
