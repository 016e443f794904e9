/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * The kernel's mount table, read without a request to any file system, so
 * that it also tells about a mount whose daemon hangs or is dead.
 */
#ifndef SLUICE_TOOLS_MOUNT_TABLE_H
#define SLUICE_TOOLS_MOUNT_TABLE_H

#include <stdbool.h>
#include <sys/types.h>

#include <glib.h>

typedef struct MountEntry {
    int id;
    dev_t device;        /**< of the file system; for FUSE also its connection */
    char *mountpoint;    /**< absolute, unescaped */
    unsigned long flags; /**< MS_* of this mount and its file system */
    char *type;          /**< "fuse.sluicefs" */
    char *source;
    char *options; /**< of the file system */
} MountEntry;

void mount_entry_free(MountEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountEntry, mount_entry_free)

/** The mount with the kernel's @id in /proc/self/mountinfo, or NULL with @error. */
MountEntry *mount_table_find_id(int id, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * The uppermost mount whose root is @path. No request is sent to it: the path
 * is opened with O_PATH, which a FUSE root allows without its daemon. An
 * error if @path is not there or not the root of a mount.
 */
MountEntry *mount_table_find_path(const char *path, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** The first mount of the file system with @device, or NULL with @error. */
MountEntry *mount_table_find_device(dev_t device, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Every mount of sluicefs, in the order of the table, a file system that is
 * mounted twice once. An array of MountEntry, or NULL with @error.
 */
GPtrArray *mount_table_ours(GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Who keeps the file system of @entry although it is unmounted here: mount namespaces that were
 * begun as a copy of ours have copies of its mounts. "PID (name)" of a process of each of
 * them that may be looked at, by commas; NULL if there is none. The caller's.
 */
char *mount_table_elsewhere(const MountEntry *entry);

/** Whether @entry is a FUSE mount; only such can be ours. */
bool mount_entry_is_fuse(const MountEntry *entry);

/** Parse one line of mountinfo; NULL if it is not one. */
MountEntry *mount_table_parse_line(const char *line);

/** The unsigned value of @name= in the entry's options, or @fallback. */
guint64 mount_entry_get_number(const MountEntry *entry, const char *name, guint64 fallback);

#endif /* SLUICE_TOOLS_MOUNT_TABLE_H */
