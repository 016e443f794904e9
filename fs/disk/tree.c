/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names of a disk's directory: see tree.h. */
#include "fs/disk/tree.h"

#include <blkid.h>
#include <string.h>

#include "fs/block/slice.h"

#define NAME_MAX_BYTES 255
#define ROOT           1

static uint64_t add_entry(DiskTree *tree, DiskEntryKind kind, uint64_t parent, const char *name)
{
    const DiskEntry entry = {.kind = kind, .parent = parent, .name = g_strdup(name)};

    g_array_append_val(tree->entries, entry);
    return tree->entries->len;
}

static DiskEntry *entry_of(DiskTree *tree, uint64_t ino)
{
    return &g_array_index(tree->entries, DiskEntry, ino - 1);
}

static void add_file(DiskTree *tree, const char *name, BlockNode *node)
{
    uint64_t ino = add_entry(tree, DISK_FILE, ROOT, name);

    entry_of(tree, ino)->node = node;
}

/*
 * A link by the name that an image's maker chose: encoded as udev does, so that it is a
 * name whatever it contains. What is there already stays.
 */
static void add_link(DiskTree *tree, const char *directory, const char *label, const char *file)
{
    char name[NAME_MAX_BYTES + 1];
    uint64_t parent, ino;

    if (label == NULL || label[0] == '\0' || blkid_encode_string(label, name, sizeof(name)) != 0 ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return;
    }
    parent = disk_tree_lookup(tree, ROOT, directory);
    if (parent == 0) {
        parent = add_entry(tree, DISK_DIRECTORY, ROOT, directory);
    }
    if (disk_tree_lookup(tree, parent, name) != 0) {
        return;
    }
    ino = add_entry(tree, DISK_LINK, parent, name);
    entry_of(tree, ino)->target = g_strconcat("../", file, NULL);
}

static bool add_partition(DiskTree *tree, BlockNode *disk, const DiskPartition *partition,
                          GError **error)
{
    g_autofree char *file =
        partition->number == 0 ? g_strdup("disk") : g_strdup_printf("part%u", partition->number);
    g_autofree char *name = g_strdup_printf("%s (%s)", disk->name, file);

    if (disk_tree_lookup(tree, ROOT, file) == 0) {
        BlockNode *node = block_slice_new(disk, name, partition->offset, partition->length, error);

        if (node == NULL) {
            return false;
        }
        add_file(tree, file, node);
    }
    add_link(tree, "by-label", partition->content.label, file);
    add_link(tree, "by-uuid", partition->content.uuid, file);
    add_link(tree, "by-partlabel", partition->label, file);
    add_link(tree, "by-partuuid", partition->uuid, file);
    return true;
}

DiskTree *disk_tree_new(BlockNode *disk, const DiskTable *table, const DiskPartition *only,
                        GError **error)
{
    g_autoptr(DiskTree) tree = g_new0(DiskTree, 1);

    tree->entries = g_array_new(FALSE, FALSE, sizeof(DiskEntry));
    add_entry(tree, DISK_DIRECTORY, ROOT, "");
    if (only == NULL) {
        add_file(tree, "disk", block_node_ref(disk));
    }
    for (guint i = 0; i < table->partitions->len; i++) {
        const DiskPartition *partition = g_ptr_array_index(table->partitions, i);

        if ((only == NULL || partition == only) && !add_partition(tree, disk, partition, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&tree);
}

void disk_tree_free(DiskTree *tree)
{
    if (tree == NULL) {
        return;
    }
    for (guint i = 0; i < tree->entries->len; i++) {
        DiskEntry *entry = &g_array_index(tree->entries, DiskEntry, i);

        g_free(entry->name);
        g_free(entry->target);
        block_node_unref(entry->node);
    }
    g_array_free(tree->entries, TRUE);
    g_free(tree);
}

const DiskEntry *disk_tree_get(const DiskTree *tree, uint64_t ino)
{
    return ino < ROOT || ino > tree->entries->len
               ? NULL
               : &g_array_index(tree->entries, DiskEntry, ino - 1);
}

uint64_t disk_tree_lookup(const DiskTree *tree, uint64_t parent, const char *name)
{
    for (guint i = ROOT; i < tree->entries->len; i++) {
        const DiskEntry *entry = &g_array_index(tree->entries, DiskEntry, i);

        if (entry->parent == parent && strcmp(entry->name, name) == 0) {
            return i + 1;
        }
    }
    return 0;
}
