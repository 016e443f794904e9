/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The header of a qcow2 image, from its bytes. Facts from QEMU's docs/interop/qcow2. */
#ifndef SLUICE_FS_BLOCK_QCOW2_HEADER_H
#define SLUICE_FS_BLOCK_QCOW2_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/** Bits of the incompatible features. */
#define QCOW2_DIRTY         (UINT64_C(1) << 0)
#define QCOW2_CORRUPT       (UINT64_C(1) << 1)
#define QCOW2_EXTERNAL_DATA (UINT64_C(1) << 2)
#define QCOW2_COMPRESSION   (UINT64_C(1) << 3)
#define QCOW2_EXTENDED_L2   (UINT64_C(1) << 4)

#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_L1_ENTRIES_MAX   (4u * 1024 * 1024)
#define QCOW2_BACKING_NAME_MAX 1023

/** A larger refcount table is refused by those who open the image. */
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (UINT64_C(8) * 1024 * 1024)

/** Places of fields that are written one at a time. */
#define QCOW2_AT_SIZE           24
#define QCOW2_AT_L1             36
#define QCOW2_AT_REFCOUNT_TABLE 48
#define QCOW2_AT_INCOMPATIBLE   72
#define QCOW2_AT_AUTOCLEAR      88

typedef enum Qcow2Compression { QCOW2_ZLIB, QCOW2_ZSTD } Qcow2Compression;

typedef struct Qcow2Header {
    unsigned version;
    unsigned cluster_bits;
    uint64_t size; /**< of the disk, bytes */
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t snapshots;
    uint64_t incompatible, compatible, autoclear;
    unsigned refcount_order; /**< a refcount has 1 << this bits */
    Qcow2Compression compression;
    char *backing_name;   /**< NULL: none */
    char *backing_format; /**< NULL: not told */
} Qcow2Header;

/**
 * Parse the first bytes of an image: its first cluster, or @length bytes of it.
 * An error names what is wrong or not supported.
 */
bool block_qcow2_header_parse(const uint8_t *bytes, size_t length, Qcow2Header *header,
                              GError **error) G_GNUC_WARN_UNUSED_RESULT;
void block_qcow2_header_clear(Qcow2Header *header);

#endif /* SLUICE_FS_BLOCK_QCOW2_HEADER_H */
