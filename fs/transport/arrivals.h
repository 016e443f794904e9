/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How the requests of a burst arrive: one after the other, or together; pure.
 *
 * What nobody waits for (FORGET, RELEASE) does not count: it tells nothing of
 * how many clients there are. A long transfer is never alone: while its bytes
 * are copied the client may work on what it has, on another CPU.
 */
#ifndef SLUICE_FS_TRANSPORT_ARRIVALS_H
#define SLUICE_FS_TRANSPORT_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

/** All zero at the start. */
typedef struct FsArrivals {
    unsigned count;     /**< that came with this burst */
    unsigned in_flight; /**< not answered yet, but for those that helper threads have */
    bool alone;         /**< this burst's came one after the other, all of one thread: */
    uint32_t client;
} FsArrivals;

/** A burst begins. */
void fs_arrivals_begin(FsArrivals *arrivals);

/** A request of the thread @client came; @is_long: it moves many bytes. Whether it counts. */
bool fs_arrivals_add(FsArrivals *arrivals, uint32_t opcode, uint32_t client, bool is_long);

/** A request that counts is not in flight any more. */
void fs_arrivals_remove(FsArrivals *arrivals);

#endif /* SLUICE_FS_TRANSPORT_ARRIVALS_H */
