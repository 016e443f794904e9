/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What fanotify(7) tells: events with file handles, decoded. */
#ifndef SLUICE_FS_PASSTHROUGH_WATCH_EVENT_H
#define SLUICE_FS_PASSTHROUGH_WATCH_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/passthrough/file-handle.h"

/** A file, by the id of its file system (f_fsid of statfs) and its handle; mount_id is 0. */
typedef struct FsWatchFile {
    uint64_t fsid;
    FsHandleName handle;
} FsWatchFile;

typedef struct FsWatchEvent {
    uint64_t mask; /**< FAN_* */
    int32_t pid;   /**< of the process that did it; 0: not told */
    bool has_file; /**< what it is about */
    bool has_dir;  /**< the directory where that is, or where a name was changed */
    FsWatchFile file;
    FsWatchFile dir;
    const char *name; /**< in dir, points into the buffer; "." or NULL: dir itself */
} FsWatchEvent;

/**
 * Decode the event at *@offset of @length bytes that were read and step over it. Records of
 * unknown kinds are passed over. 1, 0 at the end, or -EIO: these bytes are not events.
 */
int fs_watch_event_next(const char *buffer, size_t length, size_t *offset, FsWatchEvent *event);

#endif /* SLUICE_FS_PASSTHROUGH_WATCH_EVENT_H */
