/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** One-shot timers on CLOCK_MONOTONIC. Home thread only. */
#ifndef SLUICE_AIO_TIMER_H
#define SLUICE_AIO_TIMER_H

#include "aio/context.h"

typedef struct AioTimer AioTimer;
typedef void AioTimerFn(AioTimer *timer);

/** Embed it; initialise once; must not be armed when its memory goes away. */
struct AioTimer {
    AioContext *ctx;
    AioTimerFn *fn;
    int64_t deadline_ns;
    unsigned heap_index; /**< private; 0: not armed */
};

void aio_timer_init(AioTimer *timer, AioContext *ctx, AioTimerFn *fn);

/** Arm or re-arm for the absolute time @deadline_ns (aio_clock_ns()). */
void aio_timer_arm(AioTimer *timer, int64_t deadline_ns);

/** Arm for @delay_ns from now. */
void aio_timer_arm_after(AioTimer *timer, int64_t delay_ns);

/** Disarm; harmless if not armed. */
void aio_timer_cancel(AioTimer *timer);

bool aio_timer_is_armed(const AioTimer *timer);

#endif /* SLUICE_AIO_TIMER_H */
