/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs stats: what a daemon counts, once or again and again. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <gio/gio.h>

#include "tools/sluicefs/command.h"
#include "tools/sluicefs/control.h"
#include "tools/sluicefs/mount-table.h"
#include "tools/sluicefs/printable.h"
#include "tools/sluicefs/stats-format.h"

#define ANSWER_TIMEOUT_MS 5000

static JsonObject *ask(const MountEntry *entry, GError **error)
{
    const uid_t owner = (uid_t)mount_entry_get_number(entry, "user_id", geteuid());

    return control_ask(entry->device, owner, "stats", ANSWER_TIMEOUT_MS, error);
}

/* The mount at @path, or the only one there is. */
static MountEntry *find_mount(const Options *options, GError **error)
{
    g_autoptr(GPtrArray) entries = NULL;

    if (options->arguments->len > 0) {
        const char *path = g_ptr_array_index(options->arguments, 0);
        MountEntry *entry = mount_table_find_path(path, error);

        if (entry != NULL && !mount_entry_is_fuse(entry)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "it is a mount of type %s, not of sluicefs", entry->type);
            g_clear_pointer(&entry, mount_entry_free);
        }
        if (entry == NULL) {
            g_prefix_error(error, "no statistics of '%s': ", path);
        }
        return entry;
    }
    entries = mount_table_ours(error);
    if (entries == NULL) {
        return NULL;
    }
    if (entries->len != 1) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    entries->len == 0 ? "nothing is mounted"
                                      : "which mount? There are %u (see 'sluicefs status')",
                    entries->len);
        return NULL;
    }
    return g_ptr_array_steal_index(entries, 0);
}

static void print_once(const Options *options, JsonObject *stats)
{
    g_autofree char *text = NULL;

    if (options->json) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

        json_node_set_object(node, stats);
        text = json_to_string(node, TRUE);
        puts(text);
    } else {
        text = options->prometheus ? stats_format_prometheus(stats) : stats_format_text(stats);
        fputs(text, stdout);
    }
}

/* Until the mount is gone; a signal ends the process as usual. */
static void watch(const Options *options, const MountEntry *entry, JsonObject *first)
{
    JsonObject *before = json_object_ref(first);
    const bool terminal = isatty(STDOUT_FILENO) == 1;

    for (;;) {
        gint64 since = g_get_monotonic_time();
        g_autofree char *text = NULL;
        JsonObject *after;

        g_usleep((gulong)(options->interval * G_USEC_PER_SEC));
        after = ask(entry, NULL);
        if (after == NULL) {
            break;
        }
        text = stats_format_change(before, after,
                                   (double)(g_get_monotonic_time() - since) / G_USEC_PER_SEC);
        printf("%s%s%s", terminal ? "\033[H\033[2J" : "", text, terminal ? "" : "\n");
        if (fflush(stdout) != 0) {
            json_object_unref(after);
            break;
        }
        json_object_unref(before);
        before = after;
    }
    json_object_unref(before);
}

int stats_run(Options *options)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountEntry) entry = NULL;
    g_autoptr(JsonObject) stats = NULL;
    g_autofree char *reason = NULL;

    if ((int)options->json + (int)options->prometheus + (int)options->watch > 1) {
        return command_usage_error(command_find("stats"),
                                   "--json, --prometheus and --watch exclude each other");
    }
    if (options->watch && !(options->interval > 0 && options->interval <= 3600)) {
        return command_usage_error(command_find("stats"),
                                   "--interval must be more than 0 and at most 3600 seconds");
    }
    entry = find_mount(options, &error);
    if (entry == NULL) {
        reason = printable(error->message);
        fprintf(stderr, "sluicefs: %s\n", reason);
        return EXIT_FAILED;
    }
    stats = ask(entry, &error);
    if (stats == NULL) {
        g_autofree char *mountpoint = printable(entry->mountpoint);

        reason = printable(error->message);
        fprintf(stderr, "sluicefs: no statistics of '%s': %s\n", mountpoint, reason);
        return EXIT_FAILED;
    }
    if (options->watch) {
        watch(options, entry, stats);
    } else {
        print_once(options, stats);
    }
    return EXIT_OK;
}
