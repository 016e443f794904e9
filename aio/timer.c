/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One-shot timers in a binary heap ordered by deadline; index 0 is unused. */
#include "aio/context-internal.h"

/** A timer this near is compared with the clock itself, others with aio_context_now(). */
#define NEAR_NS (INT64_C(1000) * 1000)

static AioTimer *timer_at(AioContext *ctx, unsigned index)
{
    return g_ptr_array_index(ctx->timers, index);
}

static void timer_place(AioContext *ctx, unsigned index, AioTimer *timer)
{
    ctx->timers->pdata[index] = timer;
    timer->heap_index = index;
}

static void timer_sift_up(AioContext *ctx, unsigned index, AioTimer *timer)
{
    while (index > 1 && timer_at(ctx, index / 2)->deadline_ns > timer->deadline_ns) {
        timer_place(ctx, index, timer_at(ctx, index / 2));
        index /= 2;
    }
    timer_place(ctx, index, timer);
}

static void timer_sift_down(AioContext *ctx, unsigned index, AioTimer *timer)
{
    unsigned child;
    while ((child = index * 2) < ctx->timers->len) {
        if (child + 1 < ctx->timers->len &&
            timer_at(ctx, child + 1)->deadline_ns < timer_at(ctx, child)->deadline_ns) {
            child++;
        }
        if (timer_at(ctx, child)->deadline_ns >= timer->deadline_ns) {
            break;
        }
        timer_place(ctx, index, timer_at(ctx, child));
        index = child;
    }
    timer_place(ctx, index, timer);
}

void aio_timer_init(AioTimer *timer, AioContext *ctx, AioTimerFn *fn)
{
    *timer = (AioTimer){.ctx = ctx, .fn = fn};
}

bool aio_timer_is_armed(const AioTimer *timer)
{
    return timer->heap_index != 0;
}

void aio_timer_cancel(AioTimer *timer)
{
    AioContext *ctx = timer->ctx;
    unsigned index = timer->heap_index;

    g_assert(aio_context_is_home(ctx));
    if (index == 0) {
        return;
    }
    timer->heap_index = 0;
    AioTimer *last = timer_at(ctx, ctx->timers->len - 1);
    g_ptr_array_set_size(ctx->timers, (int)ctx->timers->len - 1);
    if (last != timer) {
        timer_sift_up(ctx, index, last);
        timer_sift_down(ctx, last->heap_index, last);
    }
}

void aio_timer_arm(AioTimer *timer, int64_t deadline_ns)
{
    AioContext *ctx = timer->ctx;

    aio_timer_cancel(timer);
    /* One that a timer's callback arms in the past waits for the next turn. */
    timer->deadline_ns = MAX(deadline_ns, ctx->timers_floor_ns);
    g_ptr_array_add(ctx->timers, timer);
    timer_sift_up(ctx, ctx->timers->len - 1, timer);
}

void aio_timer_arm_after(AioTimer *timer, int64_t delay_ns)
{
    aio_timer_arm(timer, aio_clock_ns() + delay_ns);
}

int64_t aio_timers_deadline(AioContext *ctx)
{
    return ctx->timers->len > 1 ? timer_at(ctx, 1)->deadline_ns : -1;
}

bool aio_timers_run(AioContext *ctx)
{
    bool progress = false;

    if (ctx->timers->len <= 1 || aio_deadline_is_carried(ctx, aio_timers_deadline(ctx))) {
        return false;
    }
    int64_t now_ns = aio_context_now(ctx);
    if (timer_at(ctx, 1)->deadline_ns < now_ns + NEAR_NS) {
        now_ns = aio_context_read_clock(ctx);
    }
    int64_t outer_floor_ns = ctx->timers_floor_ns;
    ctx->timers_floor_ns = now_ns + 1;
    while (ctx->timers->len > 1 && timer_at(ctx, 1)->deadline_ns <= now_ns) {
        AioTimer *timer = timer_at(ctx, 1);
        aio_timer_cancel(timer);
        aio_counter_add(&ctx->counters.timers, 1);
        progress = true;
        timer->fn(timer);
    }
    ctx->timers_floor_ns = outer_floor_ns;
    return progress;
}
