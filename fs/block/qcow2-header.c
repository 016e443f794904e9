/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header of a qcow2 image.
 *
 * Everything in it may have been written by an enemy: each number is checked before it is used,
 * and nothing outside of the bytes given is looked at.
 */
#include "fs/block/qcow2-header.h"

#include <string.h>

#include <gio/gio.h>

#define MAGIC             0x514649fbu
#define V2_LENGTH         72
#define V3_LENGTH         104
#define AT_COMPRESSION    104
#define KNOWN_FEATURES    (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION)
#define REFCOUNT_BITS_MAX 6 /* as a power of two */

#define EXTENSION_END            0x00000000u
#define EXTENSION_BACKING_FORMAT 0xe2792acau

static uint32_t get32(const uint8_t *bytes, size_t at)
{
    uint32_t value;

    memcpy(&value, bytes + at, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static uint64_t get64(const uint8_t *bytes, size_t at)
{
    uint64_t value;

    memcpy(&value, bytes + at, sizeof(value));
    return GUINT64_FROM_BE(value);
}

static bool refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool refuse(GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "%s", text);
    return false;
}

static bool check_features(const Qcow2Header *header, GError **error)
{
    uint64_t unknown = header->incompatible & ~KNOWN_FEATURES;

    if (unknown & QCOW2_EXTERNAL_DATA) {
        return refuse(error, "its data is in another file, which is not supported");
    }
    if (unknown & QCOW2_EXTENDED_L2) {
        return refuse(error, "it has extended L2 entries, which are not supported");
    }
    if (unknown != 0) {
        return refuse(error, "it has unknown incompatible features (0x%" G_GINT64_MODIFIER "x)",
                      unknown);
    }
    return true;
}

/* Tables lie at multiples of the cluster size, inside of what a file can be. */
static bool check_table(const Qcow2Header *header, const char *what, uint64_t offset,
                        uint64_t bytes, GError **error)
{
    if (offset & ((UINT64_C(1) << header->cluster_bits) - 1) || offset > INT64_MAX ||
        bytes > (uint64_t)INT64_MAX - offset) {
        return refuse(error, "its %s lies at a place that cannot be", what);
    }
    return true;
}

static bool check_sizes(const Qcow2Header *header, GError **error)
{
    /* A table of the second level is a cluster of 64-bit entries. */
    const unsigned l1_bits = 2 * header->cluster_bits - 3;
    const uint64_t needed =
        (header->size >> l1_bits) + ((header->size & ((UINT64_C(1) << l1_bits) - 1)) != 0);

    if (header->size > INT64_MAX) {
        return refuse(error, "its disk is too large");
    }
    if (header->l1_entries > QCOW2_L1_ENTRIES_MAX) {
        return refuse(error, "its L1 table is too large");
    }
    if (header->l1_entries < needed) {
        return refuse(error, "its L1 table is too small for its disk");
    }
    if ((uint64_t)header->refcount_table_clusters << header->cluster_bits >
        QCOW2_REFCOUNT_TABLE_BYTES_MAX) {
        return refuse(error, "its refcount table is too large");
    }
    return check_table(header, "L1 table", header->l1_offset, (uint64_t)header->l1_entries * 8,
                       error) &&
           check_table(header, "refcount table", header->refcount_table_offset,
                       (uint64_t)header->refcount_table_clusters << header->cluster_bits, error);
}

static bool parse_extensions(const uint8_t *bytes, size_t length, size_t at, Qcow2Header *header,
                             GError **error)
{
    while (at <= length && length - at >= 8) {
        const uint32_t type = get32(bytes, at), size = get32(bytes, at + 4);

        if (type == EXTENSION_END) {
            return true;
        }
        at += 8;
        if (size > length - at) {
            return refuse(error, "a header extension is longer than the header");
        }
        if (type == EXTENSION_BACKING_FORMAT) {
            g_free(header->backing_format);
            header->backing_format = g_strndup((const char *)bytes + at, size);
        }
        at += (size + 7) & ~(size_t)7;
    }
    return true; /* version 2 need not have an end */
}

/* The name of the backing file, if there is one, ends the extensions. */
static size_t extensions_end(const uint8_t *bytes, size_t length)
{
    const uint64_t name = get64(bytes, 8);

    return name == 0 ? length : (size_t)MIN(name, length);
}

static bool parse_backing(const uint8_t *bytes, size_t length, Qcow2Header *header, GError **error)
{
    const uint64_t at = get64(bytes, 8);
    const uint32_t size = get32(bytes, 16);

    if (at == 0 || size == 0) {
        return true;
    }
    if (size > QCOW2_BACKING_NAME_MAX || at > length || size > length - at) {
        return refuse(error, "the name of its backing file lies at a place that cannot be");
    }
    header->backing_name = g_strndup((const char *)bytes + at, size);
    return true;
}

static bool parse_v3(const uint8_t *bytes, size_t length, size_t *header_length,
                     Qcow2Header *header, GError **error)
{
    if (length < V3_LENGTH) {
        return refuse(error, "it is too short for a header");
    }
    header->incompatible = get64(bytes, QCOW2_AT_INCOMPATIBLE);
    header->compatible = get64(bytes, 80);
    header->autoclear = get64(bytes, QCOW2_AT_AUTOCLEAR);
    header->refcount_order = get32(bytes, 96);
    *header_length = get32(bytes, 100);
    if (*header_length < V3_LENGTH || *header_length % 8 != 0 || *header_length > length) {
        return refuse(error, "its header has the length %zu, which cannot be", *header_length);
    }
    if (header->refcount_order > REFCOUNT_BITS_MAX) {
        return refuse(error, "its refcounts have too many bits");
    }
    if (!check_features(header, error)) {
        return false;
    }
    if (header->incompatible & QCOW2_COMPRESSION) {
        uint8_t type = *header_length > AT_COMPRESSION ? bytes[AT_COMPRESSION] : 0;

        if (type > QCOW2_ZSTD) {
            return refuse(error, "its compression (type %u) is not known", type);
        }
        header->compression = (Qcow2Compression)type;
    }
    return true;
}

bool block_qcow2_header_parse(const uint8_t *bytes, size_t length, Qcow2Header *header,
                              GError **error)
{
    size_t header_length = V2_LENGTH;

    memset(header, 0, sizeof(*header));
    if (length < sizeof(uint32_t) || get32(bytes, 0) != MAGIC) {
        return refuse(error, "it is no qcow2 image");
    }
    if (length < V2_LENGTH) {
        return refuse(error, "it is too short for a header");
    }
    header->version = get32(bytes, 4);
    header->cluster_bits = get32(bytes, 20);
    header->size = get64(bytes, 24);
    header->l1_entries = get32(bytes, 36);
    header->l1_offset = get64(bytes, 40);
    header->refcount_table_offset = get64(bytes, QCOW2_AT_REFCOUNT_TABLE);
    header->refcount_table_clusters = get32(bytes, 56);
    header->snapshots = get32(bytes, 60);
    header->refcount_order = 4;
    if (header->version != 2 && header->version != 3) {
        return refuse(error, "version %u of qcow2 is not known", header->version);
    }
    if (header->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
        header->cluster_bits > QCOW2_CLUSTER_BITS_MAX) {
        return refuse(error, "its clusters have a size that is not allowed");
    }
    if (get32(bytes, 32) != 0) {
        return refuse(error, "it is encrypted, which is not supported");
    }
    if (header->version >= 3 && !parse_v3(bytes, length, &header_length, header, error)) {
        return false;
    }
    if (!check_sizes(header, error) || !parse_backing(bytes, length, header, error) ||
        !parse_extensions(bytes, extensions_end(bytes, length), header_length, header, error)) {
        block_qcow2_header_clear(header);
        return false;
    }
    return true;
}

void block_qcow2_header_clear(Qcow2Header *header)
{
    g_clear_pointer(&header->backing_name, g_free);
    g_clear_pointer(&header->backing_format, g_free);
}
