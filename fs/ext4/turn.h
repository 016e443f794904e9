/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Long walks give others their turn.
 *
 * A walk over what is in memory never yields, and an image may have files of a billion holes: the
 * worker would serve nobody else until its end.
 */
#ifndef SLUICE_FS_EXT4_TURN_H
#define SLUICE_FS_EXT4_TURN_H

#include "aio/coroutine.h"

#define EXT4_TURN_WORK 1024u /* a fraction of a millisecond */

/**
 * A walk has done @work more, which counts a run that was asked for, or a KiB that was looked
 * through, as one; *@done is what it has done since the last turn. May yield. In a coroutine.
 */
static inline void ext4_turn(unsigned *done, unsigned work)
{
    *done += work;
    if (*done >= EXT4_TURN_WORK) {
        *done = 0;
        aio_co_sleep(1);
    }
}

#endif /* SLUICE_FS_EXT4_TURN_H */
