/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the requests of a burst arrive: see arrivals.h. */
#include "fs/transport/arrivals.h"

#include <assert.h>

#include <linux/fuse.h>

/** Whether the client's thread sleeps until the answer comes. */
static bool is_waited_for(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
    case FUSE_NOTIFY_REPLY:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return false;
    default:
        return true;
    }
}

void fs_arrivals_begin(FsArrivals *arrivals)
{
    arrivals->count = 0;
    arrivals->alone = true;
}

bool fs_arrivals_add(FsArrivals *arrivals, uint32_t opcode, uint32_t client, bool is_long)
{
    if (!is_waited_for(opcode)) {
        return false;
    }
    arrivals->alone =
        arrivals->alone && !is_long && arrivals->in_flight == 0 && arrivals->client == client;
    arrivals->client = client;
    arrivals->count++;
    arrivals->in_flight++;
    return true;
}

void fs_arrivals_remove(FsArrivals *arrivals)
{
    assert(arrivals->in_flight > 0);
    arrivals->in_flight--;
}
