/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Make the kernel look at a queue of FUSE over io_uring that stands still. */
#ifndef SLUICE_FS_TRANSPORT_NUDGE_H
#define SLUICE_FS_TRANSPORT_NUDGE_H

#include <stdbool.h>
#include <stdint.h>

struct fuse_in_header;

/**
 * Have a request without meaning put into queue @queue of the connection that
 * @device_fd belongs to. Whatever entry it comes by has to be committed, and
 * with that the kernel takes what waited in the queue.
 *
 * @nodeids: candidates for a regular file that the kernel knows; the first that
 * is one is used, and nothing happens to it
 * @number: not that of a nudge under way; its upper and lowest bit are not used
 *
 * The calling thread visits the queue's CPU for that. 0 or negative errno:
 * EINVAL: no such file, or the thread may not run there, or nothing does.
 */
int fs_nudge_send(int device_fd, unsigned queue, const uint64_t *nodeids, unsigned count,
                  uint64_t number);

/** Whether a request is such a nudge. */
bool fs_nudge_is(const struct fuse_in_header *in);

#endif /* SLUICE_FS_TRANSPORT_NUDGE_H */
