/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A file system without a store, to measure what FUSE itself costs.
 *
 * One directory of files of 1 TiB that read as zeros and swallow writes; they
 * differ in how they are answered:
 *
 *   null    by the worker, at once, through the kernel's page cache
 *   direct  by the worker, at once, without the page cache (FOPEN_DIRECT_IO)
 *   async   as direct, but by the completion of a request to the worker's ring
 *   helper  as direct, but on a helper thread
 */
#ifndef SLUICE_FS_NULL_NULL_H
#define SLUICE_FS_NULL_NULL_H

#include "fs/session/filesystem.h"

/** Bytes of each file. */
#define FS_NULL_FILE_SIZE (INT64_C(1) << 40)

typedef struct FsNull FsNull;

/** The operations, for FsSessionParams.filesystem. */
const FsFilesystem *fs_null_filesystem(void);

/** Their userdata, for FsSessionParams.userdata; owner and times of the files. */
FsNull *fs_null_new(void);
void fs_null_free(FsNull *null);

#endif /* SLUICE_FS_NULL_NULL_H */
