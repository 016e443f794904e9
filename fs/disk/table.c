/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Partition tables and labels, read by libblkid.
 *
 * libblkid wants a descriptor: it gets a buffered, read-only one of the file
 * below, and where in it the disk begins; where the disk is not in one file as it
 * is, a window (window.h). It checks the tables' checksums and
 * takes a GPT's backup where the first copy is broken. Numbers that come out of a
 * table are checked against the disk all the same.
 */
#include "fs/disk/table.h"

#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <gio/gio.h>

#include "fs/block/raw.h"
#include "fs/block/slice.h"
#include "fs/disk/window.h"

#define SECTOR       512  /* the unit of libblkid's numbers, whatever the disk's is */
#define MBR_TYPE_GPT 0xee /* of the entry that covers a disk with a GPT */

typedef struct blkid_struct_probe BlkidProbe;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlkidProbe, blkid_free_probe)

static void partition_free(gpointer pointer)
{
    DiskPartition *partition = pointer;

    g_free(partition->type);
    g_free(partition->label);
    g_free(partition->uuid);
    g_free(partition->content.type);
    g_free(partition->content.label);
    g_free(partition->content.uuid);
    g_free(partition);
}

void disk_table_free(DiskTable *table)
{
    if (table == NULL) {
        return;
    }
    g_free(table->type);
    g_free(table->id);
    g_ptr_array_unref(table->partitions);
    g_free(table);
}

/* A new descriptor to read the file below @disk, and where the disk begins in it. */
static int open_below(BlockNode *disk, int64_t *offset, GError **error)
{
    const int below = block_raw_fd(block_slice_bottom(disk, offset));
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", below);
    int fd;

    if (below < 0) {
        *offset = 0;
        return disk_window_new(disk, error);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(errno),
                    "cannot look for partitions in '%s': %s", disk->name, g_strerror(errno));
    }
    return fd;
}

/* A prober of a part of the file; NULL if there is nothing to look at. */
static blkid_probe new_probe(int fd, int64_t offset, int64_t length)
{
    blkid_probe probe = length > 0 ? blkid_new_probe() : NULL;

    if (probe != NULL && blkid_probe_set_device(probe, fd, offset, length) != 0) {
        blkid_free_probe(probe);
        return NULL;
    }
    return probe;
}

static char *probe_value(blkid_probe probe, const char *name)
{
    const char *value;

    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? g_strdup(value) : NULL;
}

static void read_content(int fd, int64_t offset, int64_t length, DiskContent *content)
{
    g_autoptr(BlkidProbe) probe = new_probe(fd, offset, length);

    if (probe == NULL) {
        return;
    }
    blkid_probe_enable_partitions(probe, 0);
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe,
                                      BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID);
    if (blkid_do_safeprobe(probe) == 0) {
        content->type = probe_value(probe, "TYPE");
        content->label = probe_value(probe, "LABEL");
        content->uuid = probe_value(probe, "UUID");
    }
}

/* The partition's place on a disk of @size bytes; false: it has none. */
static bool place_partition(DiskPartition *partition, const char *disk, int64_t size, int64_t start,
                            int64_t sectors)
{
    if (start < 0 || sectors <= 0 || start > size / SECTOR) {
        g_warning("'%s': partition %u lies outside of the disk and is left out", disk,
                  partition->number);
        return false;
    }
    partition->offset = start * SECTOR;
    if (sectors > (size - partition->offset) / SECTOR) {
        partition->length = size - partition->offset;
        g_warning("'%s': partition %u reaches beyond the end of the disk and is cut", disk,
                  partition->number);
    } else {
        partition->length = sectors * SECTOR;
    }
    return partition->length > 0;
}

static void add_partition(DiskTable *table, BlockNode *disk, blkid_partition entry)
{
    DiskPartition *partition = g_new0(DiskPartition, 1);
    const int number = blkid_partition_get_partno(entry);

    partition->number = (unsigned)number;
    if (number <= 0 ||
        !place_partition(partition, disk->name, disk->size, blkid_partition_get_start(entry),
                         blkid_partition_get_size(entry))) {
        partition_free(partition);
        return;
    }
    partition->type = g_strdup(blkid_partition_get_type_string(entry));
    if (partition->type == NULL) {
        partition->type = g_strdup_printf("0x%02x", (unsigned)blkid_partition_get_type(entry));
    }
    partition->label = g_strdup(blkid_partition_get_name(entry));
    partition->uuid = g_strdup(blkid_partition_get_uuid(entry));
    g_ptr_array_add(table->partitions, partition);
}

static void read_partitions(DiskTable *table, BlockNode *disk, int fd, int64_t offset)
{
    g_autoptr(BlkidProbe) probe = new_probe(fd, offset, disk->size);
    blkid_partlist list;
    blkid_parttable root;

    if (probe == NULL) {
        return;
    }
    blkid_probe_enable_superblocks(probe, 0);
    blkid_probe_enable_partitions(probe, 1);
    list = blkid_probe_get_partitions(probe);
    root = list == NULL ? NULL : blkid_partlist_get_table(list);
    if (root == NULL) {
        return;
    }
    table->type = g_strdup(blkid_parttable_get_type(root));
    table->id = g_strdup(blkid_parttable_get_id(root));
    for (int i = 0; i < blkid_partlist_numof_partitions(list); i++) {
        blkid_partition entry = blkid_partlist_get_partition(list, i);

        /* An extended partition is the frame around the logical ones. */
        if (!blkid_partition_is_extended(entry)) {
            add_partition(table, disk, entry);
        }
    }
}

/*
 * A disk that says it has a GPT, of which neither copy can be used: an image that was cut off, for
 * instance. That there is no partition then wants a reason.
 */
static void warn_without_gpt(BlockNode *disk)
{
    uint8_t sector[SECTOR];

    if (disk->size < SECTOR || block_read_now(disk, sector, sizeof(sector), 0) < 0 ||
        sector[510] != 0x55 || sector[511] != 0xaa) {
        return;
    }
    for (unsigned entry = 446; entry < 510; entry += 16) {
        if (sector[entry + 4] == MBR_TYPE_GPT) {
            g_warning(
                "'%s': it should have a GPT, but neither that nor the backup at the end can be "
                "used: it is damaged or cut off (it has %" G_GINT64_FORMAT " bytes)",
                disk->name, disk->size);
            return;
        }
    }
}

DiskTable *disk_table_read(BlockNode *disk, GError **error)
{
    DiskTable *table;
    int64_t offset;
    int fd = open_below(disk, &offset, error);
    bool is_window;

    if (fd < 0) {
        return NULL;
    }
    is_window = block_raw_fd(block_slice_bottom(disk, &(int64_t){0})) < 0;
    table = g_new0(DiskTable, 1);
    table->partitions = g_ptr_array_new_with_free_func(partition_free);
    read_partitions(table, disk, fd, offset);
    for (guint i = 0; i < table->partitions->len; i++) {
        DiskPartition *partition = g_ptr_array_index(table->partitions, i);

        if (is_window) {
            disk_window_add(fd, disk, partition->offset, partition->length);
        }
        read_content(fd, offset + partition->offset, partition->length, &partition->content);
    }
    if (table->type == NULL) {
        DiskPartition *whole = g_new0(DiskPartition, 1);

        warn_without_gpt(disk);
        whole->length = disk->size;
        read_content(fd, offset, disk->size, &whole->content);
        if (whole->content.type != NULL) {
            g_ptr_array_add(table->partitions, whole);
        } else {
            partition_free(whole);
        }
    }
    close(fd);
    return table;
}

static bool same(const char *a, const char *b, bool ignore_case)
{
    return a != NULL && (ignore_case ? g_ascii_strcasecmp(a, b) : strcmp(a, b)) == 0;
}

static bool matches(const DiskPartition *partition, const char *text)
{
    guint64 number;

    if (g_str_has_prefix(text, "label:")) {
        text += strlen("label:");
        return same(partition->content.label, text, false) || same(partition->label, text, false);
    }
    if (g_str_has_prefix(text, "uuid:")) {
        text += strlen("uuid:");
        return same(partition->content.uuid, text, true) || same(partition->uuid, text, true);
    }
    return g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT, &number, NULL) &&
           number == partition->number;
}

const DiskPartition *disk_table_find(const DiskTable *table, const char *text, GError **error)
{
    g_autoptr(GString) numbers = g_string_new(NULL);

    for (guint i = 0; i < table->partitions->len; i++) {
        const DiskPartition *partition = g_ptr_array_index(table->partitions, i);

        if (matches(partition, text)) {
            return partition;
        }
        g_string_append_printf(numbers, "%s%u", i > 0 ? ", " : "", partition->number);
    }
    g_set_error(
        error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
        "there is no partition '%s' (numbers: %s; label:NAME and uuid:UUID also choose one, "
        "'sluicefs disk --list' shows them)",
        text, numbers->len > 0 ? numbers->str : "none");
    return NULL;
}
