/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs image: serve the files inside of an ext2/3/4 image. */
#include <string.h>
#include <sys/mount.h>

#include <gio/gio.h>

#include "fs/block/nbd.h"
#include "fs/block/slice.h"
#include "fs/disk/table.h"
#include "fs/ext4/ext4.h"
#include "tools/sluicefs/disk-open.h"
#include "tools/sluicefs/serve.h"
#include "tools/sluicefs/statistics.h"

/* The numbers of the partitions that hold something, for a message. */
static char *partition_list(const DiskTable *table)
{
    GString *list = g_string_new(NULL);

    for (guint i = 0; i < table->partitions->len; i++) {
        const DiskPartition *partition = g_ptr_array_index(table->partitions, i);

        g_string_append_printf(list, "%s%u (%s)", list->len > 0 ? ", " : "", partition->number,
                               partition->content.type == NULL ? "nothing known"
                                                               : partition->content.type);
    }
    return g_string_free(list, FALSE);
}

static bool is_ext(const char *type)
{
    return type == NULL || g_strcmp0(type, "ext2") == 0 || g_strcmp0(type, "ext3") == 0 ||
           g_strcmp0(type, "ext4") == 0;
}

/* The part of the disk @node that @options mean; a reference. */
static BlockNode *choose_part(BlockNode *node, const Options *options, const char *source,
                              GError **error)
{
    g_autoptr(DiskTable) table = disk_table_read(node, error);
    const DiskPartition *part = NULL;

    if (table == NULL) {
        return NULL;
    }
    if (options->partition != NULL) {
        part = disk_table_find(table, options->partition, error);
        if (part == NULL) {
            g_prefix_error(error, "'%s': ", source);
            return NULL;
        }
    } else if (table->type != NULL) {
        g_autofree char *list = partition_list(table);

        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "'%s' has partitions: %s; choose one with partition=N", source,
                    list[0] == '\0' ? "none that can be used" : list);
        return NULL;
    } else if (table->partitions->len > 0) {
        part = g_ptr_array_index(table->partitions, 0);
    }
    if (part != NULL && !is_ext(part->content.type)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "'%s' holds %s; only ext2, ext3 and ext4 can be shown", source,
                    part->content.type);
        return NULL;
    }
    if (part == NULL || part->number == 0) {
        return block_node_ref(node);
    }
    g_autofree char *name = g_strdup_printf("%s, partition %u", source, part->number);
    return block_slice_new(node, name, part->offset, part->length, error);
}

static void *open_image(const Options *options, const char *source, GError **error)
{
    const Ext4Params ext4_params = {
        .no_recovery = options->norecovery,
        /* Lists name users of their own, not those that were asked for. */
        .acl = options->default_permissions && options->uid < 0 && options->gid < 0,
        .uid = options->uid,
        .gid = options->gid,
    };
    g_autoptr(BlockNode) node = NULL;
    g_autoptr(BlockNode) part = NULL;
    BlockOpenParams params;

    if (!disk_open_params(options, &params, error)) {
        return NULL;
    }
    params.access = BLOCK_ACCESS_READ_ONLY;
    node = block_open(source, &params, error);
    part = node == NULL ? NULL : choose_part(node, options, source, error);
    return part == NULL ? NULL : ext4_open(part, &ext4_params, error);
}

static void append_stats(void *userdata, GString *out)
{
    Ext4Stats stats;

    ext4_get_stats(userdata, &stats);
    statistics_append(out, "image_reads", stats.reads);
    statistics_append(out, "image_read_bytes", stats.read_bytes);
    statistics_append(out, "image_buffer_hits", stats.buffer_hits);
    statistics_append(out, "image_buffer_misses", stats.buffer_misses);
    statistics_append(out, "image_inode_hits", stats.inode_hits);
    statistics_append(out, "image_inode_misses", stats.inode_misses);
    statistics_append(out, "image_name_hits", stats.name_hits);
    statistics_append(out, "image_name_misses", stats.name_misses);
    statistics_append(out, "image_cache_bytes", stats.cache_bytes);
    statistics_append(out, "image_damaged", stats.damaged);
}

static void close_image(void *userdata)
{
    ext4_close(userdata);
}

static const ServeBackend image_backend = {
    .command = "image",
    .filesystem = ext4_filesystem,
    .open = open_image,
    .append_stats = append_stats,
    .close = close_image,
};

int image_run(Options *options)
{
    const guint count = options->arguments->len;
    const char *first = g_ptr_array_index(options->arguments, 0);
    const char *source = options->source != NULL ? options->source : first;
    g_autofree char *path = NULL;

    if (count != 2 && !(options->source != NULL && count == 1)) {
        return command_usage_error(command_find("image"), "image needs IMG and MNT");
    }
    options->mount_set |= MS_RDONLY;
    options->mount_clear &= ~(unsigned long)MS_RDONLY;
    /* The daemon's working directory is another. */
    path = block_nbd_is_uri(source) ? block_nbd_absolute_uri(source)
                                    : g_canonicalize_filename(source, NULL);
    return serve_run(&image_backend, options, path, count == 2 ? first : source,
                     g_ptr_array_index(options->arguments, count - 1));
}
