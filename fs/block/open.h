/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From the name of an image, a file or an NBD server's, to its block node. */
#ifndef SLUICE_FS_BLOCK_OPEN_H
#define SLUICE_FS_BLOCK_OPEN_H

#include "fs/block/node.h"

typedef enum BlockAccess {
    BLOCK_ACCESS_AUTO,       /**< write if the file can be written, else read-only with a message */
    BLOCK_ACCESS_READ_WRITE, /**< an error if the file cannot be written */
    BLOCK_ACCESS_READ_ONLY,
} BlockAccess;

typedef enum BlockFormat {
    BLOCK_FORMAT_AUTO, /**< by the content */
    BLOCK_FORMAT_RAW,
    BLOCK_FORMAT_QCOW2,
} BlockFormat;

typedef struct BlockOpenParams {
    BlockAccess access;
    BlockFormat format;
    bool direct;          /**< O_DIRECT below, instead of the page cache */
    bool no_links;        /**< refuse a path that ends in a symbolic link */
    bool follow_backing;  /**< also to backing files that are not beside the image */
    double wait_seconds;  /**< for others who use the image */
    int64_t offset;       /**< bytes to skip at the beginning */
    int64_t length;       /**< bytes to use; -1: up to the end */
    uint64_t l2_cache;    /**< bytes of a qcow2 image's L2 tables kept in memory */
    unsigned connections; /**< most connections to an NBD server; 0: one for each processor */
} BlockOpenParams;

void block_open_params_init(BlockOpenParams *params);

/**
 * Open and lock the image at @path. An error tells what is wrong with @path, why, and what
 * to do about it. Before any worker runs.
 */
BlockNode *block_open(const char *path, const BlockOpenParams *params,
                      GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_FS_BLOCK_OPEN_H */
