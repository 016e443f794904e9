/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs disk: serve a disk image as a directory of its disk and partitions. */
#include "fs/disk/disk.h"

#include <stdio.h>

#include <gio/gio.h>

#include "fs/block/nbd.h"
#include "fs/block/open.h"
#include "tools/sluicefs/disk-list.h"
#include "tools/sluicefs/disk-open.h"
#include "tools/sluicefs/log.h"
#include "tools/sluicefs/serve.h"
#include "tools/sluicefs/statistics.h"

static void *open_disk(const Options *options, const char *source, GError **error)
{
    g_autoptr(BlockNode) node = NULL;
    g_autoptr(DiskTable) table = NULL;
    const DiskPartition *only = NULL;
    BlockOpenParams params;

    if (!disk_open_params(options, &params, error)) {
        return NULL;
    }
    node = block_open(source, &params, error);
    if (node == NULL) {
        return NULL;
    }
    table = disk_table_read(node, error);
    if (table == NULL) {
        return NULL;
    }
    if (options->partition != NULL) {
        only = disk_table_find(table, options->partition, error);
        if (only == NULL) {
            g_prefix_error(error, "'%s': ", source);
            return NULL;
        }
    }
    return disk_new(node, table, only, error);
}

static void append_stats(void *userdata, GString *out)
{
    FsDiskStats stats;

    disk_get_stats(userdata, &stats);
    statistics_append(out, "disk_reads", stats.reads);
    statistics_append(out, "disk_writes", stats.writes);
    statistics_append(out, "disk_flushes", stats.flushes);
    statistics_append(out, "disk_zeroes", stats.zeroes);
}

static bool finish_disk(void *userdata, GError **error)
{
    return disk_flush(userdata, error);
}

static void close_disk(void *userdata)
{
    disk_free(userdata);
}

static const ServeBackend disk_backend = {
    .command = "disk",
    .filesystem = disk_filesystem,
    .open = open_disk,
    .append_stats = append_stats,
    .finish = finish_disk,
    .close = close_disk,
};

static int list(const Options *options, const char *source, const BlockOpenParams *params)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(BlockNode) node = NULL;
    g_autoptr(DiskTable) table = NULL;

    log_new((LevelChoice)options->log_level);
    node = block_open(source, params, &error);
    table = node == NULL ? NULL : disk_table_read(node, &error);
    if (table == NULL) {
        fprintf(stderr, "sluicefs: %s\n", error->message);
        return EXIT_FAILED;
    }
    if (options->json) {
        disk_list_json(source, node, table);
    } else {
        disk_list_text(source, node, table);
    }
    return EXIT_OK;
}

int disk_run(Options *options)
{
    const guint count = options->arguments->len;
    const char *first = g_ptr_array_index(options->arguments, 0);
    const char *source = options->source != NULL ? options->source : first;
    const bool has_source = options->source != NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    BlockOpenParams params;

    if (options->json && !options->list) {
        return command_usage_error(command_find("disk"), "--json is for --list");
    }
    if (count != (options->list ? 1 : 2) && !(has_source && !options->list && count == 1)) {
        return command_usage_error(command_find("disk"), options->list
                                                             ? "disk --list needs DISK alone"
                                                             : "disk needs DISK and MNT");
    }
    if (!disk_open_params(options, &params, &error)) {
        return command_usage_error(command_find("disk"), "%s", error->message);
    }
    if (options->list) {
        return list(options, source, &params);
    }
    /* The daemon's working directory is another. */
    path = block_nbd_is_uri(source) ? block_nbd_absolute_uri(source)
                                    : g_canonicalize_filename(source, NULL);
    return serve_run(&disk_backend, options, path, count == 2 ? first : source,
                     g_ptr_array_index(options->arguments, count - 1));
}
