/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What it costs a thread to have SCHED_IDLE: see starvation.h. */
#include "fs/transport/starvation.h"

#include <glib.h>

/** Pauses do not become longer after so many failures. */
#define MOST_FAILURES 6u

void fs_starvation_begin(FsStarvation *account, int64_t now, uint64_t delay_ns)
{
    account->begun_at = now;
    account->looked_at = now;
    account->delay_ns = delay_ns;
    account->requests = 0;
    account->lost_ns = 0;
}

bool fs_starvation_count(FsStarvation *account, int64_t now, unsigned requests)
{
    account->requests += requests;
    return now - account->looked_at >= FS_STARVATION_LOOK_NS;
}

bool fs_starvation_look(FsStarvation *account, int64_t now, uint64_t delay_ns)
{
    const int64_t waited = (int64_t)(delay_ns - account->delay_ns);
    const int64_t lost = waited - FS_STARVATION_FREE_NS * (int64_t)account->requests;

    account->lost_ns = MAX(account->lost_ns + lost, 0);
    account->looked_at = now;
    account->delay_ns = delay_ns;
    account->requests = 0;
    if (account->lost_ns < FS_STARVATION_LOST_NS) {
        return true;
    }
    const bool soon = now - account->begun_at < FS_STARVATION_SOON_NS;
    account->failures = soon ? MIN(account->failures + 1, MOST_FAILURES) : 1;
    const int64_t pause_ns =
        FS_STARVATION_SHARE * account->lost_ns * (INT64_C(1) << (account->failures - 1));
    account->until_ns = now + MIN(pause_ns, FS_STARVATION_PAUSE_MAX_NS);
    return false;
}

bool fs_starvation_is_over(const FsStarvation *account, int64_t now)
{
    return now >= account->until_ns;
}
