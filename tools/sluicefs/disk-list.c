/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs disk --list: the partitions of a disk, for people and programs. */
#include "tools/sluicefs/disk-list.h"

#include <stdio.h>

#include <json-glib/json-glib.h>

#include "tools/sluicefs/json-text.h"
#include "tools/sluicefs/printable.h"

/* "16.0 MiB", with a plain blank. g_free(). */
static char *size_text(int64_t bytes)
{
    g_autofree char *text = g_format_size_full((guint64)bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_auto(GStrv) parts = g_strsplit(text, "\u00a0", 0);

    return g_strjoinv(" ", parts);
}

void disk_list_text(const char *source, const BlockNode *disk, const DiskTable *table)
{
    g_autofree char *size = size_text(disk->size);

    printf("%s: %s, %s%s\n", source, size,
           table->type == NULL ? "no partition table" : "partition table ",
           table->type == NULL ? "" : table->type);
    if (table->partitions->len == 0) {
        return;
    }
    printf("\n%-8s %14s %10s  %-10s %-16s %-36s  %s\n", "NAME", "OFFSET", "SIZE", "CONTENT",
           "LABEL", "UUID", "PARTITION");
    for (guint i = 0; i < table->partitions->len; i++) {
        const DiskPartition *partition = g_ptr_array_index(table->partitions, i);
        g_autofree char *name = g_strdup_printf("part%u", partition->number);
        g_autofree char *bytes = size_text(partition->length);
        g_autofree char *content = printable(partition->content.type);
        g_autofree char *label = printable(partition->content.label);
        g_autofree char *uuid = printable(partition->content.uuid);
        g_autofree char *table_label = printable(partition->label);
        g_autofree char *type = printable(partition->type);

        printf("%-8s %14" G_GINT64_FORMAT " %10s  %-10s %-16s %-36s  %s%s%s\n", name,
               partition->offset, bytes, content, label, uuid,
               partition->label != NULL ? table_label : "", partition->label != NULL ? ", " : "",
               partition->type != NULL ? type : "");
    }
}

static JsonObject *partition_to_json(const DiskPartition *partition)
{
    JsonObject *object = json_object_new(), *content = json_object_new();
    g_autofree char *name = g_strdup_printf("part%u", partition->number);

    json_object_set_string_member(object, "name", name);
    json_object_set_int_member(object, "number", partition->number);
    json_object_set_int_member(object, "offset", partition->offset);
    json_object_set_int_member(object, "size", partition->length);
    json_text_set(object, "type", partition->type);
    json_text_set(object, "label", partition->label);
    json_text_set(object, "uuid", partition->uuid);
    json_text_set(content, "type", partition->content.type);
    json_text_set(content, "label", partition->content.label);
    json_text_set(content, "uuid", partition->content.uuid);
    json_object_set_object_member(object, "content", content);
    return object;
}

void disk_list_json(const char *source, const BlockNode *disk, const DiskTable *table)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *partitions = json_array_new();
    g_autofree char *text = NULL;

    json_text_set(object, "disk", source);
    json_object_set_int_member(object, "size", disk->size);
    json_text_set(object, "table", table->type);
    json_text_set(object, "id", table->id);
    for (guint i = 0; i < table->partitions->len; i++) {
        json_array_add_object_element(partitions,
                                      partition_to_json(g_ptr_array_index(table->partitions, i)));
    }
    json_object_set_array_member(object, "partitions", partitions);
    json_node_take_object(node, object);
    text = json_to_string(node, TRUE);
    puts(text);
}
