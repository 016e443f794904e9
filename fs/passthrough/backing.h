/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What is remembered about each file system that the source consists of. */
#ifndef SLUICE_FS_PASSTHROUGH_BACKING_H
#define SLUICE_FS_PASSTHROUGH_BACKING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

typedef struct FsBackings FsBackings;

typedef struct FsBacking {
    struct FsBacking *next;
    FsBackings *all; /**< where it belongs */
    dev_t dev;
    unsigned index;  /**< 0: the root's file system */
    uint16_t prefix; /**< upper 16 bits to show where a number has none */
    _Atomic uint64_t
        learned;            /**< of another number: 1 << 32 | its upper bits << 16 | those shown */
    bool local;             /**< close(2) of a descriptor there reports nothing and does not wait */
    bool in_memory;         /**< reading never waits for a device */
    bool kernel_io;         /**< known to do well under kernel passthrough, O_DIRECT included */
    bool stable_positions;  /**< in directories: they mean the same to every descriptor */
    bool fleeting_handles;  /**< a handle ends when the kernel forgets the file there */
    bool fid_marks;         /**< handles that can only be compared are good for that */
    _Atomic bool no_marks;  /**< nothing tells a file from another one with its number */
    _Atomic bool unwatched; /**< others' changes are to be seen, but not told */
    _Atomic bool no_nowait_read;  /**< RWF_NOWAIT reads answer EOPNOTSUPP */
    _Atomic bool no_handles;      /**< name_to_handle_at(2) answers EOPNOTSUPP */
    _Atomic bool no_nowait_write; /**< RWF_NOWAIT writes answer EOPNOTSUPP */
} FsBacking;

struct FsBackings {
    pthread_mutex_t lock;
    _Atomic(FsBacking *) first; /**< only ever grows */
    unsigned count;
    GHashTable *prefixes;               /**< index << 16 | upper bits of a number -> those shown */
    unsigned char used[(1u << 16) / 8]; /**< upper bits that are shown, a bit for each */
    unsigned next_prefix;               /**< all below it are used */
};

void fs_backings_init(FsBackings *backings);
void fs_backings_fini(FsBackings *backings);

/**
 * The file system with st_dev @dev, on which @fd is open. Lives as long as
 * @backings. NULL: no memory. Any thread.
 */
FsBacking *fs_backing_get(FsBackings *backings, dev_t dev, int fd);

/**
 * The inode number to show for @ino: a FUSE mount has one st_dev, so two files of
 * different file systems must not have one number, or they would look like links.
 * Each file system's numbers with the same upper 16 bits get upper 16 bits of their own;
 * the root's keep theirs, unless another has got them before. There are 65536 for the life of a
 * mount; with all in use (a log line) numbers can be the same. Any thread.
 */
ino_t fs_backing_shown_ino(FsBacking *backing, ino_t ino);

#endif /* SLUICE_FS_PASSTHROUGH_BACKING_H */
