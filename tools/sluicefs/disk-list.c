/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** sluicefs disk --list: the partitions of a disk, for people and programs. */
#include "tools/sluicefs/disk-list.h"

#include <stdio.h>

#include <json-glib/json-glib.h>

#include "tools/sluicefs/printable.h"

void disk_list_text(const char *source, const BlockNode *disk, const DiskTable *table)
{
    g_autofree char *size = g_format_size_full((guint64)disk->size, G_FORMAT_SIZE_IEC_UNITS);

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
        g_autofree char *bytes =
            g_format_size_full((guint64)partition->length, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *content = printable(partition->content.type);
        g_autofree char *label = printable(partition->content.label);
        g_autofree char *uuid = printable(partition->content.uuid);
        g_autofree char *table_label = printable(partition->label);

        printf("%-8s %14" G_GINT64_FORMAT " %10s  %-10s %-16s %-36s  %s%s%s\n", name,
               partition->offset, bytes, content, label, uuid,
               partition->label != NULL ? table_label : "", partition->label != NULL ? ", " : "",
               partition->type != NULL ? partition->type : "");
    }
}

/* JSON strings are UTF-8; bytes that are none become U+FFFD. */
static void set_string(JsonObject *object, const char *name, const char *value)
{
    g_autofree char *valid = value == NULL ? NULL : g_utf8_make_valid(value, -1);

    if (valid == NULL) {
        json_object_set_null_member(object, name);
    } else {
        json_object_set_string_member(object, name, valid);
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
    set_string(object, "type", partition->type);
    set_string(object, "label", partition->label);
    set_string(object, "uuid", partition->uuid);
    set_string(content, "type", partition->content.type);
    set_string(content, "label", partition->content.label);
    set_string(content, "uuid", partition->content.uuid);
    json_object_set_object_member(object, "content", content);
    return object;
}

void disk_list_json(const char *source, const BlockNode *disk, const DiskTable *table)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    JsonArray *partitions = json_array_new();
    g_autofree char *text = NULL;

    set_string(object, "disk", source);
    json_object_set_int_member(object, "size", disk->size);
    set_string(object, "table", table->type);
    set_string(object, "id", table->id);
    for (guint i = 0; i < table->partitions->len; i++) {
        json_array_add_object_element(partitions,
                                      partition_to_json(g_ptr_array_index(table->partitions, i)));
    }
    json_object_set_array_member(object, "partitions", partitions);
    json_node_take_object(node, object);
    text = json_to_string(node, TRUE);
    puts(text);
}
