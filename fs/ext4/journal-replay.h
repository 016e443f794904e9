/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Which blocks of a journal's log count. */
#ifndef SLUICE_FS_EXT4_JOURNAL_REPLAY_H
#define SLUICE_FS_EXT4_JOURNAL_REPLAY_H

#include "fs/ext4/journal-log.h"

/**
 * Fill @journal->logged with the newest copy of each block that a replay would write. The
 * superblock has been read, and the log is not empty. Negative errno: the kernel would not mount
 * it, or it cannot be followed here.
 */
int ext4_journal_replay(Ext4Journal *journal);

#endif /* SLUICE_FS_EXT4_JOURNAL_REPLAY_H */
