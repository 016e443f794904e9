/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Decoding fanotify events.
 *
 * How it works: an event is a header and a sequence of records, each with its length. A
 * record about a file holds the id of the file system, a handle, and behind that
 * a name, if the record is of the kind that has one. Every length is checked, although the kernel
 * wrote them.
 */
#include "fs/passthrough/watch-event.h"

#include <errno.h>
#include <string.h>
#include <sys/fanotify.h>

/* The record of @length bytes into *@file; *@name to what is behind the handle. */
static bool decode_file(const char *record, size_t length, FsWatchFile *file, const char **name)
{
    const size_t handle_at = sizeof(struct fanotify_event_info_header) + sizeof(file->fsid);
    uint32_t bytes;
    int32_t type;
    const size_t bytes_at = handle_at + sizeof(bytes) + sizeof(type);
    if (length < bytes_at) {
        return false;
    }
    memcpy(&file->fsid, record + sizeof(struct fanotify_event_info_header), sizeof(file->fsid));
    memcpy(&bytes, record + handle_at, sizeof(bytes));
    memcpy(&type, record + handle_at + sizeof(bytes), sizeof(type));
    if (bytes > length - bytes_at || bytes > sizeof(file->handle.name)) {
        return false;
    }
    file->handle.mount_id = 0;
    file->handle.length = bytes;
    file->handle.type = type;
    memcpy(file->handle.name, record + bytes_at, bytes);
    const char *rest = record + bytes_at + bytes;
    *name = memchr(rest, '\0', length - bytes_at - bytes) ? rest : NULL;
    return true;
}

static bool decode_record(const char *record, size_t length, unsigned type, FsWatchEvent *event)
{
    const char *name;
    switch (type) {
    case FAN_EVENT_INFO_TYPE_FID:
        event->has_file = decode_file(record, length, &event->file, &name);
        return event->has_file;
    case FAN_EVENT_INFO_TYPE_DFID:
        event->has_dir = decode_file(record, length, &event->dir, &name);
        return event->has_dir;
    case FAN_EVENT_INFO_TYPE_DFID_NAME:
        event->has_dir = decode_file(record, length, &event->dir, &event->name);
        return event->has_dir && event->name;
    default:
        return true;
    }
}

int fs_watch_event_next(const char *buffer, size_t length, size_t *offset, FsWatchEvent *event)
{
    struct fanotify_event_metadata head;
    if (*offset == length) {
        return 0;
    }
    if (*offset > length || length - *offset < sizeof(head)) {
        return -EIO;
    }
    memcpy(&head, buffer + *offset, sizeof(head));
    if (head.vers != FANOTIFY_METADATA_VERSION || head.metadata_len < sizeof(head) ||
        head.event_len < head.metadata_len || head.event_len > length - *offset) {
        return -EIO;
    }
    event->mask = head.mask;
    event->pid = head.pid;
    event->has_file = event->has_dir = false;
    event->name = NULL;
    const char *record = buffer + *offset + head.metadata_len;
    const char *end = buffer + *offset + head.event_len;
    while (record < end) {
        struct fanotify_event_info_header info;
        if ((size_t)(end - record) < sizeof(info)) {
            return -EIO;
        }
        memcpy(&info, record, sizeof(info));
        if (info.len < sizeof(info) || info.len > end - record ||
            !decode_record(record, info.len, info.info_type, event)) {
            return -EIO;
        }
        record += info.len;
    }
    *offset += head.event_len;
    return 1;
}
