/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait in a queue for ever: see stall.h. */
#include "fs/transport/stall.h"

#include <assert.h>

void fs_stall_init(FsStall *stall)
{
    *stall = (FsStall){.exhausted = true};
}

void fs_stall_registered(FsStall *stall)
{
    stall->in_kernel++;
    /* takes nothing out, and hides that the others have been filled, one of them last */
    stall->exhausted = true;
    stall->last_stays = false;
}

uint64_t fs_stall_committed(FsStall *stall)
{
    stall->in_kernel++;
    stall->last_stays = true;
    return ++stall->commits;
}

void fs_stall_filled(FsStall *stall, uint64_t number)
{
    assert(stall->in_kernel > 0);
    stall->in_kernel--;
    if (number != 0 && number == stall->commits) {
        stall->last_stays = false;
    }
    if (stall->in_kernel == 0) {
        stall->exhausted = true;
    }
}

unsigned fs_stall_tick(FsStall *stall, int64_t now_ns, bool patient)
{
    const bool progress = stall->commits != stall->commits_before;

    stall->commits_before = stall->commits;
    if (!stall->exhausted || progress) {
        stall->still_since = 0;
        return 0;
    }
    if (stall->last_stays) {
        stall->exhausted = false;
        stall->still_since = 0;
        return 0;
    }
    if (stall->still_since == 0) {
        stall->still_since = now_ns;
    }
    if (patient && now_ns - stall->still_since < FS_STALL_PATIENCE_NS) {
        return 0;
    }
    return (stall->in_kernel == 0 ? FS_STALL_ADD : 0) | FS_STALL_NUDGE;
}
