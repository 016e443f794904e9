/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The file systems that are watched, and how a file of an event becomes a file of the source.
 *
 * Places are added for ever, and found without a lock.
 */
#ifndef SLUICE_FS_PASSTHROUGH_WATCH_PLACE_H
#define SLUICE_FS_PASSTHROUGH_WATCH_PLACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/passthrough/file-handle.h"
#include "fs/passthrough/inode.h"

/** A mount of a file system that is watched. */
typedef struct FsWatchPlace FsWatchPlace;

typedef struct FsWatchPlaces {
    int events_fd; /* fanotify, not ours */
    uint64_t mask; /* what is watched for */
    int proc_fd;   /* /proc/self/fd, not ours */
    FsMounts *mounts;
    pthread_mutex_t lock; /* to add or change a place */
    _Atomic(FsWatchPlace *) first;
} FsWatchPlaces;

/** Watch with @events_fd (of fanotify_init()) for @mask. Descriptors and @mounts outlive it. */
void fs_watch_places_init(FsWatchPlaces *places, int events_fd, uint64_t mask, int proc_fd,
                          FsMounts *mounts);

/** Nobody uses them any more. Marks go with the descriptor. */
void fs_watch_places_destroy(FsWatchPlaces *places);

/**
 * Watch the file system and mount on which @fd (O_PATH, with attributes @stx) lies, if it is not
 * yet. 0, or negative errno: it cannot be watched; *@news: that was another answer before. Any
 * thread.
 */
int fs_watch_places_add(FsWatchPlaces *places, int fd, const struct statx *stx, bool *news);

/** The place of file system @fsid after @place, or the first (NULL). NULL: no more. Any thread. */
FsWatchPlace *fs_watch_places_next(const FsWatchPlaces *places, const FsWatchPlace *place,
                                   uint64_t fsid);

/** Whether a file of the file system @fsid may be known twice, by two mounts. Any thread. */
bool fs_watch_places_two(const FsWatchPlaces *places, uint64_t fsid);

/**
 * The key of the file of @handle as it is known through @place. 0, -ESTALE: it has gone, or
 * negative errno. Any thread.
 */
int fs_watch_place_key(FsWatchPlaces *places, const FsWatchPlace *place, const FsHandleName *handle,
                       FsInodeKey *key);

#endif /* SLUICE_FS_PASSTHROUGH_WATCH_PLACE_H */
