/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a worker takes and answers requests: see burst.h. */
#include "fs/transport/burst.h"

bool fs_burst_read_again(const FsBurst *burst, unsigned requests, bool answered)
{
    if (requests >= FS_BURST_MAX) {
        return false;
    }
    if (answered || requests > 1 || burst->lonely < FS_BURST_LONELY) {
        return true;
    }
    return burst->lonely % FS_BURST_LONELY_PROBE == 0;
}

static void end_held(FsBurst *burst, unsigned requests)
{
    if (requests > 1) {
        burst->patience = FS_BURST_PATIENCE;
    } else if (--burst->patience == 0) {
        burst->hold = false;
        burst->since_probe = 0;
    }
}

static void end_at_once(FsBurst *burst, unsigned requests)
{
    burst->since_probe += requests;
    if (burst->since_probe >= FS_BURST_PROBE) {
        burst->hold = true;
        burst->patience = 1;
    }
}

void fs_burst_end(FsBurst *burst, unsigned requests)
{
    if (requests == 0) {
        return;
    }
    burst->lonely = requests == 1 ? burst->lonely + 1 : 0;
    if (burst->hold) {
        end_held(burst, requests);
    } else {
        end_at_once(burst, requests);
    }
}
