/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Make the kernel look at a queue of FUSE over io_uring that stands still.
 *
 * How it works: requests that found no entry wait in their queue, and the
 * kernel (6.18) takes them from there only when an entry is committed. A new
 * entry does not: it is filled by the next request that arrives, and what
 * waited goes on waiting. So somebody has to make a request, on the queue's
 * CPU, and without waiting for its answer. The one thing that does so by order
 * of the daemon is FUSE_NOTIFY_RETRIEVE: asked for zero bytes of a regular file
 * it sends a NOTIFY_REPLY, for which nobody waits, from the context of the call.
 * The number that we choose for it becomes the request's unique number; bit 63
 * keeps it apart from those of the kernel, which count up from zero.
 */
#include "fs/transport/nudge.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include <linux/fuse.h>

#define NUDGE_BIT     (UINT64_C(1) << 63)
#define INTERRUPT_BIT UINT64_C(1)

static int send_retrieve(int device_fd, uint64_t nodeid, uint64_t unique)
{
    const struct {
        struct fuse_out_header header;
        struct fuse_notify_retrieve_out retrieve;
    } message = {
        .header = {.len = sizeof(message), .error = FUSE_NOTIFY_RETRIEVE},
        .retrieve = {.notify_unique = unique, .nodeid = nodeid},
    };
    ssize_t written;

    do {
        written = write(device_fd, &message, sizeof(message));
    } while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

int fs_nudge_send(int device_fd, unsigned queue, const uint64_t *nodeids, unsigned count,
                  uint64_t number)
{
    /* as many CPUs as a queue's number can name */
    const size_t size = CPU_ALLOC_SIZE(UINT16_MAX + 1);
    cpu_set_t *home = CPU_ALLOC(UINT16_MAX + 1);
    cpu_set_t *visit = CPU_ALLOC(UINT16_MAX + 1);
    int result = -ENOMEM;

    if (home != NULL && visit != NULL) {
        CPU_ZERO_S(size, visit);
        CPU_SET_S(queue, size, visit);
        if (sched_getaffinity(0, size, home) < 0 || sched_setaffinity(0, size, visit) < 0) {
            result = -errno;
        } else {
            result = -EINVAL;
            for (unsigned i = 0; i < count && (result == -EINVAL || result == -ENOENT); i++) {
                result =
                    send_retrieve(device_fd, nodeids[i], (number | NUDGE_BIT) & ~INTERRUPT_BIT);
            }
            (void)sched_setaffinity(0, size, home); /* it was there before */
        }
    }
    if (home != NULL) {
        CPU_FREE(home);
    }
    if (visit != NULL) {
        CPU_FREE(visit);
    }
    return result;
}

bool fs_nudge_is(const struct fuse_in_header *in)
{
    return in->opcode == FUSE_NOTIFY_REPLY && (in->unique & NUDGE_BIT);
}
