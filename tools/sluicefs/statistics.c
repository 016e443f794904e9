/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The counters of a session as text: one line "name value" each. */
#include "tools/sluicefs/statistics.h"

void statistics_append(GString *out, const char *name, guint64 value)
{
    g_string_append_printf(out, "%-20s %" G_GUINT64_FORMAT "\n", name, value);
}

void statistics_append_counters(GString *out, const FsSessionStats *stats)
{
    statistics_append(out, "requests", stats->requests);
    statistics_append(out, "replies", stats->replies);
    statistics_append(out, "offloaded", stats->offloaded);
    statistics_append(out, "in_flight", stats->in_flight);
    statistics_append(out, "device_reads", stats->device_reads);
    statistics_append(out, "device_eagain", stats->device_eagain);
    statistics_append(out, "device_writes", stats->device_writes);
    statistics_append(out, "uring_requests", stats->uring_requests);
#define APPEND_FIELD(name, text) statistics_append(out, #name, stats->aio.name);
    AIO_STATS_COUNTERS(APPEND_FIELD)
#undef APPEND_FIELD
}

void statistics_append_session(GString *out, FsSession *session)
{
    FsSessionStats stats;

    fs_session_get_stats(session, &stats);
    statistics_append_counters(out, &stats);
}

void statistics_log(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0') {
            g_message("%s", *line);
        }
    }
}
