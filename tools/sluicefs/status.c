/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * sluicefs status: the mounts, their daemons, and whether these answer.
 *
 * Mounts come from the mount table and daemons from the run-time entries; no
 * request is sent to a mount, so that one that hangs is listed as well.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "tools/sluicefs/command.h"
#include "tools/sluicefs/control.h"
#include "tools/sluicefs/instance.h"
#include "tools/sluicefs/json-text.h"
#include "tools/sluicefs/mount-table.h"
#include "tools/sluicefs/printable.h"
#include "tools/sluicefs/stats-format.h"

#define ANSWER_TIMEOUT_MS 3000

/*
 * What is known of a mount: "state" is serving, silent (the daemon runs and
 * does not answer), dead (there is no daemon) or unknown, "reason" why.
 */
static JsonObject *describe(const MountEntry *entry)
{
    const uid_t owner = (uid_t)mount_entry_get_number(entry, "user_id", geteuid());
    g_autoptr(GError) error = NULL;
    JsonObject *object = control_ask(entry->device, owner, "status", ANSWER_TIMEOUT_MS, &error);

    if (object != NULL) {
        json_object_set_string_member(object, "state", "serving");
    } else {
        g_autoptr(GError) find_error = NULL;
        const char *state;
        pid_t pid;
        int fd = instance_find(entry->device, owner, &pid, NULL, &find_error);

        object = json_object_new();
        if (fd >= 0) {
            json_object_set_int_member(object, "pid", pid);
            close(fd);
            state = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) ? "silent" : "unknown";
        } else {
            state = find_error == NULL ? "dead" : "unknown";
        }
        json_object_set_string_member(object, "state", state);
        json_text_set(object, "reason", find_error != NULL ? find_error->message : error->message);
        json_text_set(object, "source", entry->source);
    }
    json_text_set(object, "mountpoint", entry->mountpoint);
    return object;
}

static void print_table(JsonArray *mounts)
{
    printf("%-8s %8s %10s %-9s %12s %9s  %s\n", "STATE", "PID", "UPTIME", "TRANSPORT", "REQUESTS",
           "IN FLIGHT", "MOUNT");
    for (guint i = 0; i < json_array_get_length(mounts); i++) {
        JsonObject *object = json_array_get_object_element(mounts, i);
        g_autofree char *uptime = stats_format_duration(
            json_object_get_double_member_with_default(object, "uptime_seconds", -1));
        const char *reason = json_object_get_string_member_with_default(object, "reason", NULL);
        const char *why_device =
            json_object_get_string_member_with_default(object, "transport_reason", NULL);
        g_autofree char *safe_reason = printable(reason);
        g_autofree char *safe_why = printable(why_device);
        g_autofree char *state =
            printable(json_object_get_string_member_with_default(object, "state", ""));
        g_autofree char *transport =
            printable(json_object_get_string_member_with_default(object, "transport", "-"));
        g_autofree char *mountpoint =
            printable(json_object_get_string_member_with_default(object, "mountpoint", ""));
        g_autofree char *source =
            printable(json_object_get_string_member_with_default(object, "source", ""));

        printf("%-8s %8" G_GINT64_FORMAT " %10s %-9s %12" G_GINT64_FORMAT " %9" G_GINT64_FORMAT
               "  %s (%s)%s%s\n",
               state, json_object_get_int_member_with_default(object, "pid", 0), uptime, transport,
               json_object_get_int_member_with_default(object, "requests", 0),
               json_object_get_int_member_with_default(object, "in_flight", 0), mountpoint, source,
               reason == NULL ? "" : ": ", reason == NULL ? "" : safe_reason);
        if (why_device != NULL) {
            printf("%8s not over io_uring: %s\n", "", safe_why);
        }
    }
}

/* The mounts named on the command line, or all; false: some are none of ours. */
static bool collect(const Options *options, GPtrArray **entries)
{
    g_autoptr(GError) error = NULL;
    bool ok = true;

    if (options->arguments->len == 0) {
        *entries = mount_table_ours(&error);
        if (*entries == NULL) {
            fprintf(stderr, "sluicefs: %s\n", error->message);
            return false;
        }
        return true;
    }
    *entries = g_ptr_array_new_with_free_func((GDestroyNotify)mount_entry_free);
    for (guint i = 0; i < options->arguments->len; i++) {
        const char *path = g_ptr_array_index(options->arguments, i);
        g_autoptr(GError) path_error = NULL;
        MountEntry *entry = mount_table_find_path(path, &path_error);
        g_autofree char *reason = NULL;

        if (entry != NULL && mount_entry_is_fuse(entry)) {
            g_ptr_array_add(*entries, entry);
            continue;
        }
        reason = printable(entry != NULL ? entry->type : path_error->message);
        fprintf(stderr, "sluicefs: no mount of sluicefs at '%s': %s%s\n", path,
                entry != NULL ? "its type is " : "", reason);
        mount_entry_free(entry);
        ok = false;
    }
    return ok;
}

int status_run(Options *options)
{
    g_autoptr(GPtrArray) entries = NULL;
    g_autoptr(JsonArray) mounts = json_array_new();
    bool ok = collect(options, &entries);

    if (entries == NULL) {
        return EXIT_SYSTEM;
    }
    for (guint i = 0; i < entries->len; i++) {
        JsonObject *object = describe(g_ptr_array_index(entries, i));

        ok = ok && strcmp(json_object_get_string_member(object, "state"), "serving") == 0;
        json_array_add_object_element(mounts, object);
    }
    if (options->json) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_ARRAY);
        g_autofree char *text = NULL;

        json_node_set_array(node, mounts);
        text = json_to_string(node, TRUE);
        puts(text);
    } else if (entries->len > 0) {
        print_table(mounts);
    } else if (ok) {
        puts("no mounts");
    }
    return ok ? EXIT_OK : EXIT_FAILED;
}
