/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A coroutine that waits for time to pass. */
#include <assert.h>

#include "aio/coroutine.h"
#include "aio/timer.h"

typedef struct CoroutineSleep {
    AioTimer timer;
    AioCoroutine *co;
    bool over;
} CoroutineSleep;

static void coroutine_sleep_over(AioTimer *timer)
{
    CoroutineSleep *sleep = aio_container_of(timer, CoroutineSleep, timer);
    sleep->over = true;
    aio_co_wake(sleep->co);
}

void aio_co_sleep(int64_t ns)
{
    CoroutineSleep sleep = {.co = aio_co_self()};

    assert(sleep.co != NULL);
    if (ns <= 0) {
        return;
    }
    aio_timer_init(&sleep.timer, aio_context_current(), coroutine_sleep_over);
    aio_timer_arm_after(&sleep.timer, ns);
    while (!sleep.over) {
        aio_co_yield();
    }
}
