/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Faults injected below the I/O engine's retry logic, for tests.
 *
 * Every request that is submitted while faults are on draws from a generator
 * seeded by the seed, its number in the order of submission, and the number
 * of the step. So the same seed gives the same faults to the same requests,
 * whatever the order in which they complete and whichever engine runs them.
 */
#ifndef SLUICE_AIO_IO_FAULT_H
#define SLUICE_AIO_IO_FAULT_H

#include "aio/io.h"

/** Probabilities in permille of the steps (kernel calls) of the requests. */
typedef struct AioIoFaults {
    uint64_t seed;
    unsigned short_permille;  /**< transfer only part: at least a byte, or an aligned block */
    unsigned eagain_permille; /**< answer EAGAIN or EINTR */
    unsigned eio_permille;    /**< answer EIO */
    unsigned delay_permille;  /**< hand the answer on delay_ns later */
    unsigned cancel_permille; /**< answer ECANCELED */
    unsigned stall_permille;  /**< write: answer 0 bytes */
    int64_t delay_ns;
    unsigned eagain_burst; /**< EAGAIN or EINTR answers in a row when it strikes; 0: 1 */
} AioIoFaults;

/**
 * Switch fault injection on (@faults copied) or off (NULL), for steps that
 * start from now on. Home thread.
 */
void aio_io_set_faults(AioContext *ctx, const AioIoFaults *faults);

#endif /* SLUICE_AIO_IO_FAULT_H */
