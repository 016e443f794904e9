/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Watching the source: what others change there is taken out of the kernel's caches.
 *
 * A thread of its own reads fanotify(7) events and notifies the kernel, which may wait for
 * pages and directories that workers are busy with: so it runs on no worker.
 */
#ifndef SLUICE_FS_PASSTHROUGH_WATCH_H
#define SLUICE_FS_PASSTHROUGH_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <glib.h>

#include "fs/passthrough/inode.h"
#include "fs/session/session.h"

typedef struct FsPassthrough FsPassthrough;
typedef struct FsWatch FsWatch;

/** Open the event queue. NULL: the daemon may not, or the kernel cannot. */
FsWatch *fs_watch_new(FsPassthrough *pt, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** Start the thread, which waits for fs_watch_begin(). Main thread. */
void fs_watch_start(FsWatch *watch, FsSession *session);

/** INIT is settled: notify from now on; events since fs_watch_place() are not lost. */
void fs_watch_begin(FsWatch *watch, const FsInitResult *init);

/** Whether all names can be invalidated at once, as for lost events (Linux 6.16). Any thread. */
bool fs_watch_can_drop_names(const FsWatch *watch);

/** What an error of watching asks for, to be put behind its text. Any thread. */
const char *fs_watch_explain(int error);

/** Join the thread, if it was started; the connection is ending. No notification follows. */
void fs_watch_stop(FsWatch *watch);

/** NULL is allowed. Stopped or never started; while the inode table lives. */
void fs_watch_free(FsWatch *watch);

/**
 * Have the file system and mount watched on which @fd (O_PATH, with attributes @stx) lies: called
 * for each lookup, before its attributes are taken. 0, or negative errno: it cannot be watched. Any
 * thread.
 */
int fs_watch_place(FsWatch *watch, int fd, const struct statx *stx);

/**
 * Events of others so far. An answer about a name, or a file that the kernel may not know yet, is
 * only good for longer if this number is the same before the name was looked for and the
 * attributes were read, and after the inode was put into the table. Any thread.
 */
uint64_t fs_watch_sequence(const FsWatch *watch);

typedef struct FsWatchStats {
    uint64_t events;        /**< received */
    uint64_t own;           /**< of them, changes that the daemon itself made */
    uint64_t notifications; /**< that the kernel took */
    uint64_t overflows;     /**< the queue was full: everything was invalidated */
} FsWatchStats;

/** Any thread. */
void fs_watch_get_stats(const FsWatch *watch, FsWatchStats *stats);

#endif /* SLUICE_FS_PASSTHROUGH_WATCH_H */
