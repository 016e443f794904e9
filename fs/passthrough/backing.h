/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What is remembered about each file system that the source consists of. */
#ifndef SLUICE_FS_PASSTHROUGH_BACKING_H
#define SLUICE_FS_PASSTHROUGH_BACKING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct FsBacking {
    struct FsBacking *next;
    dev_t dev;
    unsigned index; /**< 0: the root's file system */
    bool local;     /**< close(2) of a descriptor there reports nothing and does not wait */
    bool in_memory; /**< reading never waits for a device */
    bool kernel_io; /**< known to do well under kernel passthrough, O_DIRECT included */
    _Atomic bool no_nowait_read;  /**< RWF_NOWAIT reads answer EOPNOTSUPP */
    _Atomic bool no_handles;      /**< name_to_handle_at(2) answers EOPNOTSUPP */
    _Atomic bool no_nowait_write; /**< RWF_NOWAIT writes answer EOPNOTSUPP */
} FsBacking;

typedef struct FsBackings {
    pthread_mutex_t lock;
    _Atomic(FsBacking *) first; /**< only ever grows */
    unsigned count;
} FsBackings;

void fs_backings_init(FsBackings *backings);
void fs_backings_fini(FsBackings *backings);

/**
 * The file system with st_dev @dev, on which @fd is open. Lives as long as
 * @backings. NULL: no memory. Any thread.
 */
FsBacking *fs_backing_get(FsBackings *backings, dev_t dev, int fd);

/**
 * The inode number to show for @ino: a FUSE mount has one st_dev, so numbers
 * of other file systems below the root get their index mixed into the top
 * 16 bits. Otherwise two files could look like links to one.
 */
ino_t fs_backing_shown_ino(const FsBacking *backing, ino_t ino);

#endif /* SLUICE_FS_PASSTHROUGH_BACKING_H */
