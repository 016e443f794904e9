/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The counters and times of a session as JSON. */
#include <string.h>

#include "tools/sluicefs/statistics.h"

static JsonObject *histogram_to_json(const AioHistogram *histogram)
{
    static const struct {
        const char *name;
        unsigned permille;
    } points[] = {{"p50_ns", 500}, {"p90_ns", 900}, {"p99_ns", 990}, {"p999_ns", 999}};
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "count", (gint64)atomic_load(&histogram->count));
    json_object_set_int_member(object, "sum_ns", (gint64)atomic_load(&histogram->sum));
    for (size_t i = 0; i < G_N_ELEMENTS(points); i++) {
        json_object_set_int_member(object, points[i].name,
                                   (gint64)aio_histogram_permille(histogram, points[i].permille));
    }
    json_object_set_int_member(object, "max_ns", (gint64)atomic_load(&histogram->max));
    return object;
}

/* Lines "name value\n" as members. */
static JsonObject *lines_to_json(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    JsonObject *object = json_object_new();

    for (char **line = lines; *line != NULL; line++) {
        char *space = strchr(*line, ' ');

        if (space != NULL) {
            *space = '\0';
            json_object_set_int_member(object, *line,
                                       g_ascii_strtoll(g_strchug(space + 1), NULL, 10));
        }
    }
    return object;
}

static JsonObject *counters_to_json(const FsSessionStats *stats)
{
    g_autoptr(GString) lines = g_string_new(NULL);

    statistics_append_counters(lines, stats);
    return lines_to_json(lines->str);
}

static JsonArray *workers_to_json(FsSession *session)
{
    JsonArray *array = json_array_new();

    for (unsigned i = 0; i < fs_session_worker_count(session); i++) {
        FsSessionStats stats;

        fs_session_get_worker_stats(session, i, &stats);
        json_array_add_object_element(array, counters_to_json(&stats));
    }
    return array;
}

static JsonObject *operations_to_json(const FsTimes *times)
{
    JsonObject *object = json_object_new();

    for (unsigned i = 0; i < FS_TIMES_OPCODES; i++) {
        JsonObject *operation;

        if (atomic_load(&times->service[i].count) == 0) {
            continue;
        }
        operation = histogram_to_json(&times->service[i]);
        json_object_set_int_member(operation, "errors", (gint64)atomic_load(&times->errors[i]));
        json_object_set_object_member(object, fs_times_opcode_name(i), operation);
    }
    return object;
}

JsonObject *statistics_to_json(FsSession *session, const char *backend)
{
    JsonObject *object = json_object_new();
    FsTimes *times = fs_times_new();
    FsSessionStats stats;

    fs_session_get_stats(session, &stats);
    for (unsigned i = 0; i < fs_session_worker_count(session); i++) {
        fs_session_merge_times(session, i, times);
    }
    json_object_set_object_member(object, "counters", counters_to_json(&stats));
    json_object_set_object_member(object, "backend", lines_to_json(backend));
    json_object_set_array_member(object, "workers", workers_to_json(session));
    json_object_set_object_member(object, "operations", operations_to_json(times));
    json_object_set_object_member(object, "queue", histogram_to_json(&times->queue));
    json_object_set_object_member(object, "backing", histogram_to_json(&times->backing));
    json_object_set_object_member(object, "reply", histogram_to_json(&times->reply));
    fs_times_free(times);
    return object;
}
