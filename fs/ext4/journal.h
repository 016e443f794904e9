/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The journal of a file system that was not unmounted cleanly. */
#ifndef SLUICE_FS_EXT4_JOURNAL_H
#define SLUICE_FS_EXT4_JOURNAL_H

#include "fs/ext4/ext4.h"
#include "fs/ext4/overlay.h"

/**
 * What a replay of the journal would write, in *@overlay (NULL: nothing). In a coroutine, while
 * the volume shows the file system as it is.
 *
 * Negative errno: the kernel would refuse to mount it, too, or cannot be followed. *@why is the
 * reason, a static text.
 */
int ext4_journal_load(Ext4Volume *volume, Ext4Overlay **overlay, const char **why);

#endif /* SLUICE_FS_EXT4_JOURNAL_H */
