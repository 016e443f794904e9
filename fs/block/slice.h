/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A part of another node: a partition, or a raw piece of a file. */
#ifndef SLUICE_FS_BLOCK_SLICE_H
#define SLUICE_FS_BLOCK_SLICE_H

#include "fs/block/node.h"

/**
 * @length bytes of @below from @offset on. Takes a reference on @below. A part that
 * lies outside of @below is an error.
 */
BlockNode *block_slice_new(BlockNode *below, const char *name, int64_t offset, int64_t length,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * The node below all slices that @node may be, and in *@offset where @node begins in it.
 * Not a new reference.
 */
BlockNode *block_slice_bottom(BlockNode *node, int64_t *offset);

#endif /* SLUICE_FS_BLOCK_SLICE_H */
