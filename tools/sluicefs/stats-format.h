/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What a daemon counts (statistics_to_json()), made readable. */
#ifndef SLUICE_TOOLS_STATS_FORMAT_H
#define SLUICE_TOOLS_STATS_FORMAT_H

#include <glib.h>
#include <json-glib/json-glib.h>

/** "3d04h", "1h02m", "2m03s", "4s"; "-" for a negative time. Free with g_free(). */
char *stats_format_duration(double seconds);

/** "870 ns", "12.3 us", "4.5 ms", "1.2 s". Free with g_free(). */
char *stats_format_time(double nanoseconds);

/** All of it, for people. Free with g_free(). */
char *stats_format_text(JsonObject *stats);

/** All of it in the text format of Prometheus. Free with g_free(). */
char *stats_format_prometheus(JsonObject *stats);

/**
 * What happened between @before and @after, @seconds apart: one line for each
 * operation, the busiest first. Free with g_free().
 */
char *stats_format_change(JsonObject *before, JsonObject *after, double seconds);

#endif /* SLUICE_TOOLS_STATS_FORMAT_H */
