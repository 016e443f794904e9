/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Images in QEMU's format qcow2. */
#ifndef SLUICE_FS_BLOCK_QCOW2_H
#define SLUICE_FS_BLOCK_QCOW2_H

#include "fs/block/node.h"
#include "fs/block/qcow2-header.h"

/** Tables for 256 GiB with clusters of 64 KiB. Memory is taken as tables are read. */
#define BLOCK_QCOW2_CACHE_BYTES (UINT64_C(32) * 1024 * 1024)

/** Read the header of @file. Clear it with block_qcow2_header_clear(). */
bool block_qcow2_read_header(BlockNode *file, Qcow2Header *header,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * A node over the image in @file, with what it does not have itself from @backing (may
 * be NULL: zeros). Takes references on both. @writable: an error if it cannot be.
 * Of its L2 tables at most @cache_bytes are kept in memory, or a few tables.
 */
BlockNode *block_qcow2_new(BlockNode *file, BlockNode *backing, const char *name, bool writable,
                           uint64_t cache_bytes, GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_FS_BLOCK_QCOW2_H */
