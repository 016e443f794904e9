/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From argv to struct Options, by the option table. */
#ifndef SLUICE_TOOLS_OPTIONS_H
#define SLUICE_TOOLS_OPTIONS_H

#include <stdbool.h>

#include <glib.h>

#include "tools/sluicefs/option-table.h"

/** Every value that the table can set. Strings belong to the struct. */
typedef struct Options {
    /* common */
    bool help, version;

    /* process */
    bool foreground, debug, stats;
    int ready_fd;
    char *pid_file;
    char *log;
    int log_level; /* LevelChoice */
    char *run;
    double stop_timeout;

    /* engine */
    bool single_thread;
    int threads, helpers;
    int io_engine; /* EngineChoice */
    int transport; /* FsTransportChoice */
    int uring_depth;
    int poll; /* PollChoice */
    int poll_max_us, poll_grow, poll_shrink, poll_weight;
    bool poll_insist;
    int max_background;

    /* mount */
    bool allow_other, default_permissions;
    char *fsname, *subtype, *source;
    bool remount;
    unsigned long mount_set, mount_clear; /* MS_* flags asked for and asked away */
    GPtrArray *mount_extra;               /* of char *: words for mount(2) as they are */

    /* directory */
    int cache;         /* CacheChoice */
    int locks;         /* LocksChoice */
    int xdev;          /* XdevChoice */
    int inode_handles; /* HandlesChoice */
    double entry_timeout, attr_timeout;
    int passthrough_io; /* PassthroughIoChoice */
    bool writeback, xattr, idmap, export_support, watch_source;
    char *xattrmap, *uidmap, *gidmap, *squash;

    /* directory or image */
    bool norecovery;

    /* disk */
    bool list;
    char *partition, *offset, *size, *l2_cache;
    int format;     /* FormatChoice */
    int backing;    /* BackingChoice */
    int disk_cache; /* DiskCacheChoice */
    double wait;

    /* image */
    bool files, fakeroot;
    int errors; /* ErrorsChoice */
    int uid, gid;

    /* umount */
    double timeout;
    bool lazy, force;

    /* check, status, stats */
    bool json;

    /* stats */
    bool prometheus, watch;
    double interval;

    GPtrArray *arguments; /* of char *: what is not an option, in order */
    bool given[256];      /* entry n of the table was given by the user */
} Options;

/** Defaults of the table. Free with options_free(). */
Options *options_new(void);
void options_free(Options *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

/** Whether the user gave the option @name, as opposed to its default. */
bool options_given(const Options *options, const char *name);

/**
 * Parse @argv (without the program and command names) with the options of
 * @groups. An error names the word, what is wrong with it, and the nearest
 * word that would have been understood.
 */
bool options_parse(Options *options, unsigned groups, int argc, char *const *argv,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Parse a comma list as given to -o, when there is nothing else to parse. A comma inside of
 * double quotes or after a backslash does not separate. @sloppy: ignore unknown words.
 */
bool options_parse_list(Options *options, unsigned groups, const char *list, bool sloppy,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Set one option from its text. */
bool options_set(Options *options, const OptionSpec *spec, const char *value,
                 GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * The nearest of the names in @groups (and of the mount words, if
 * @mount_words) to @name, or NULL if none is near. Free with g_free().
 */
char *options_nearest(unsigned groups, bool mount_words, const char *name);

/** Edits (insert, delete, replace, swap neighbours) from @a to @b. */
unsigned options_edit_distance(const char *a, const char *b);

#endif /* SLUICE_TOOLS_OPTIONS_H */
