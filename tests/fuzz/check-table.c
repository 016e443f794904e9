/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must hold for the partition table of any disk. */
#include <string.h>

#include "fs/disk/table.h"
#include "fs/disk/tree.h"
#include "fuzz.h"

static void check_partition(BlockNode *disk, const DiskTable *table, const DiskPartition *partition)
{
    g_assert_cmpint(partition->offset, >=, 0);
    g_assert_cmpint(partition->length, >=, 0);
    g_assert_cmpint(partition->offset, <=, disk->size);
    g_assert_cmpint(partition->length, <=, disk->size - partition->offset);
    if (partition->number == 0) {
        g_assert_null(table->type);
        g_assert_cmpuint(table->partitions->len, ==, 1);
    } else {
        g_assert_nonnull(partition->type);
        g_assert_cmpint(partition->length, >, 0);
    }
}

/* Each entry has a name that can be one, unlike the others of its directory, and can be read. */
static void check_tree(const DiskTree *tree)
{
    for (guint i = 1; i < tree->entries->len; i++) {
        const DiskEntry *entry = disk_tree_get(tree, i + 1);
        char byte;

        g_assert_true(entry->name[0] != '\0' && strchr(entry->name, '/') == NULL);
        g_assert_cmpuint(disk_tree_lookup(tree, entry->parent, entry->name), ==, i + 1);
        if (entry->kind == DISK_FILE && entry->node->size > 0) {
            g_assert_cmpint(block_read_now(entry->node, &byte, 1, 0), ==, 0);
            g_assert_cmpint(block_read_now(entry->node, &byte, 1, entry->node->size - 1), ==, 0);
            g_assert_cmpint(block_read_now(entry->node, &byte, 1, entry->node->size), <, 0);
        }
    }
}

void fuzz_check_table(BlockNode *disk)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DiskTable) table = disk_table_read(disk, &error);
    g_autoptr(DiskTree) tree = NULL;

    if (table == NULL) {
        g_assert_nonnull(error);
        return;
    }
    g_assert_no_error(error);
    for (guint i = 0; i < table->partitions->len; i++) {
        const DiskPartition *partition = g_ptr_array_index(table->partitions, i);
        g_autofree char *text = g_strdup_printf("%u", partition->number);

        check_partition(disk, table, partition);
        g_assert_nonnull(disk_table_find(table, text, NULL));
    }
    tree = disk_tree_new(disk, table, NULL, &error);
    g_assert_no_error(error);
    check_tree(tree);
}
