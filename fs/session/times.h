/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How long requests take: histograms by operation, and of the ways between.
 *
 *     received --> (helper's queue) --> answered --> sent
 *        |               queue              |          |
 *        +------------- service ------------+-- reply -+
 *
 * A worker has one FsTimes and is its only writer: a request carries its
 * times, from whichever threads, back to its worker and is counted there when
 * it is recycled. Readers merge from any thread and may see a request in one
 * histogram and not yet in the other.
 */
#ifndef SLUICE_FS_SESSION_TIMES_H
#define SLUICE_FS_SESSION_TIMES_H

#include "aio/stats.h"

/** Operations above the last that is known are counted as number 0. */
#define FS_TIMES_OPCODES 64

typedef struct FsTimes {
    AioHistogram service[FS_TIMES_OPCODES]; /**< nanoseconds from received to answered */
    _Atomic uint64_t errors[FS_TIMES_OPCODES];
    AioHistogram queue;   /**< nanoseconds that handed-over requests waited for a helper */
    AioHistogram backing; /**< nanoseconds of transfers by the I/O engine */
    AioHistogram reply;   /**< nanoseconds from answered to sent */
} FsTimes;

/** All zero. Pages that no operation needs are never touched. Free with fs_times_free(). */
FsTimes *fs_times_new(void);
void fs_times_free(FsTimes *times);

/** Add @from to @into, whose only writer the caller is. */
void fs_times_merge(FsTimes *into, const FsTimes *from);

/** Count one value of an operation. The writer's thread. */
void fs_times_record(FsTimes *times, uint32_t opcode, int error, uint64_t service_ns);

/** "read" for FUSE_READ; "other" for what has no name. Static. */
const char *fs_times_opcode_name(uint32_t opcode);

#endif /* SLUICE_FS_SESSION_TIMES_H */
