/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the ranges of a file are, one after the other.
 *
 * Ranges that are answered at once make a loop, and no recursion: there may be very many.
 */
#include "fs/disk/disk-internal.h"

static void walk(DiskIo *io);

/* Look at the range that has been asked for; false: that was all. */
static bool walk_goes_on(DiskIo *io)
{
    if (!io->walk.look(io)) {
        return false;
    }
    io->walk.at += (int64_t)io->block.run;
    return true;
}

static void range_known(BlockRequest *block)
{
    DiskIo *io = disk_io_of(block);

    io->walk.answered = true;
    if (!io->walk.submitting && walk_goes_on(io)) {
        walk(io);
    }
}

static void walk(DiskIo *io)
{
    const int64_t size = io->node->size;

    do {
        if (io->walk.at >= size) {
            io->walk.end(io);
            return;
        }
        block_request_init(&io->block, BLOCK_STATUS, NULL, (uint64_t)(size - io->walk.at),
                           io->walk.at);
        io->walk.answered = false;
        io->walk.submitting = true;
        block_submit(io->node, &io->block, range_known);
        io->walk.submitting = false;
        if (!io->walk.answered) {
            return; /* range_known() goes on */
        }
    } while (walk_goes_on(io));
}

void disk_walk(DiskIo *io, int64_t at, bool (*look)(DiskIo *io), void (*end)(DiskIo *io))
{
    io->walk = (struct DiskWalk){.at = at, .look = look, .end = end};
    walk(io);
}
