/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Reading directories: getdents64(2) with positions that survive seekdir(). */
#ifndef SLUICE_FS_PASSTHROUGH_DIR_H
#define SLUICE_FS_PASSTHROUGH_DIR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct FsDirStream FsDirStream;

/** One entry as the kernel gave it. */
typedef struct FsDirent {
    ino_t ino;
    off_t next;         /**< position behind this entry */
    unsigned char type; /**< DT_* */
    const char *name;   /**< into the buffer */
} FsDirent;

/**
 * Read the entry at *@offset of a getdents64(2) buffer of @length bytes and
 * move *@offset behind it. 1, 0 at the end, -EIO for a malformed entry.
 */
int fs_dirent_next(const char *buffer, size_t length, size_t *offset, FsDirent *entry);

/** A stream at the beginning of a directory; NULL when memory is short. */
FsDirStream *fs_dir_stream_new(void);
void fs_dir_stream_free(FsDirStream *stream);

#endif /* SLUICE_FS_PASSTHROUGH_DIR_H */
