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

#define ISO_MAGIC        "CD001"
#define ISO_MAGIC_LENGTH 5
#define ISO_MAGIC_AT     (32768 + 1)

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

/* @content is not what can be shown: say what it is, and who shows it. */
static void refuse_content(const char *source, const char *type, GError **error)
{
    static const struct {
        const char *type, *text;
    } others[] = {
        {"squashfs", "squashfuse and mount(8) show its files"},
        {"squashfs3", "mount(8) shows its files"},
        {"iso9660", "fuseiso and mount(8) show its files"},
        {"udf", "mount(8) shows its files"},
        {"erofs", "erofsfuse and mount(8) show its files"},
        {"crypto_LUKS", "it is encrypted and has to be opened by cryptsetup first"},
        {"LVM2_member", "it is a part of a volume group"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        if (strcmp(type, others[i].type) == 0) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                        "'%s' holds %s, not ext2, ext3 or ext4, and is not shown here yet; %s",
                        source, type, others[i].text);
            return;
        }
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "'%s' holds %s; only ext2, ext3 and ext4 can be shown", source, type);
}

/* Whether it is a CD's image, which often looks like a disk with partitions as well. */
static bool is_iso(BlockNode *node)
{
    char magic[ISO_MAGIC_LENGTH];

    return node->size >= ISO_MAGIC_AT + ISO_MAGIC_LENGTH &&
           block_read_now(node, magic, sizeof(magic), ISO_MAGIC_AT) == 0 &&
           memcmp(magic, ISO_MAGIC, sizeof(magic)) == 0;
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
    } else if (table->type != NULL && is_iso(node)) {
        refuse_content(source, "iso9660", error);
        return NULL;
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
        refuse_content(source, part->content.type, error);
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
        .panic = options->errors == ERRORS_PANIC,
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

static void attach_session(void *userdata, FsSession *session)
{
    ext4_attach_session(userdata, session);
}

static void ready(void *userdata)
{
    ext4_read_ahead(userdata);
}

static void close_image(void *userdata)
{
    ext4_close(userdata);
}

static const ServeBackend image_backend = {
    .command = "image",
    .filesystem = ext4_filesystem,
    .open = open_image,
    .attach = attach_session,
    .ready = ready,
    .append_stats = append_stats,
    .close = close_image,
};

int image_run(Options *options)
{
    const guint count = options->arguments->len;
    const char *first = g_ptr_array_index(options->arguments, 0);
    const char *source = options->source != NULL ? options->source : first;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    BlockOpenParams params;

    if (count != 2 && !(options->source != NULL && count == 1)) {
        return command_usage_error(command_find("image"), "image needs IMG and MNT");
    }
    if (!disk_open_params(options, &params, &error)) {
        return command_usage_error(command_find("image"), "%s", error->message);
    }
    if (options->fakeroot) {
        options->default_permissions = false;
    }
    options->mount_set |= MS_RDONLY;
    options->mount_clear &= ~(unsigned long)MS_RDONLY;
    /* The daemon's working directory is another. */
    path = block_nbd_is_uri(source) ? block_nbd_absolute_uri(source)
                                    : g_canonicalize_filename(source, NULL);
    return serve_run(&image_backend, options, path, count == 2 ? first : source,
                     g_ptr_array_index(options->arguments, count - 1));
}
