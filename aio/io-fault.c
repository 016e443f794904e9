/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fault injection between the I/O engine's state machine and the kernel.
 *
 * How it works: before a step is issued its faults are drawn. An error answers
 * the step without the kernel; a short transfer is made truly short, by giving
 * the kernel less to transfer, so that a mistake in the continuation shows in
 * the data. A delay holds the answer, real or injected, back by a timer.
 *
 * A direct transfer is shortened to whole blocks, as the kernel does it.
 */
#include "aio/io-fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aio/io-internal.h"
#include "aio/iov.h"

/* SplitMix64 (Steele, Lea, Flood 2014): each state gives an independent value. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool strikes(uint64_t *random, unsigned permille)
{
    return next_random(random) % 1000 < permille;
}

/* Give the step a vector of only @bytes bytes. */
static void shorten_step(AioIo *io, uint64_t bytes)
{
    struct AioIoState *state = &io->state;
    const struct iovec *iov = state->step_iov;

    if (bytes <= iov->iov_len) {
        state->step_single = (struct iovec){.iov_base = iov->iov_base, .iov_len = bytes};
        state->step_iov = &state->step_single;
        state->step_iov_count = 1;
        return;
    }
    state->fault_iov = malloc(state->step_iov_count * sizeof(*iov));
    if (!state->fault_iov) {
        return;
    }
    memcpy(state->fault_iov, iov, state->step_iov_count * sizeof(*iov));
    unsigned count = 0;
    while (bytes > state->fault_iov[count].iov_len) {
        bytes -= state->fault_iov[count++].iov_len;
    }
    state->fault_iov[count].iov_len = bytes;
    state->step_iov = state->fault_iov;
    state->step_iov_count = count + 1;
}

static void draw_short(AioIo *io, uint64_t random)
{
    uint64_t unit = io->alignment > 1 ? io->alignment : 1;
    uint64_t length = aio_iov_length(io->state.step_iov, io->state.step_iov_count);

    if (length > unit) {
        shorten_step(io, unit * (1 + random % ((length - 1) / unit)));
        io->state.faulted = true;
    }
}

/* 0, or the negative errno that answers the step. */
static int32_t draw_answer(AioIo *io, const AioIoFaults *faults, uint64_t *random)
{
    struct AioIoState *state = &io->state;
    bool again = strikes(random, faults->eagain_permille);
    bool interrupted = next_random(random) & 1;
    bool eio = strikes(random, faults->eio_permille);
    bool cancelled = strikes(random, faults->cancel_permille);

    if (state->fault_burst > 0) {
        state->fault_burst--;
        return state->fault_burst_answer;
    }
    if (again) {
        state->fault_burst = faults->eagain_burst > 1 ? faults->eagain_burst - 1 : 0;
        state->fault_burst_answer = interrupted ? -EINTR : -EAGAIN;
        return state->fault_burst_answer;
    }
    return eio ? -EIO : cancelled ? -ECANCELED : 0;
}

bool aio_io_fault_issue(AioIo *io)
{
    struct AioIoState *state = &io->state;
    const AioIoFaults *faults = &state->engine->faults;
    uint64_t random = faults->seed;

    random ^= next_random(&(uint64_t){state->fault_serial});
    random ^= next_random(&(uint64_t){UINT64_C(0x5851f42d4c957f2d) + state->fault_steps++});

    bool delayed = strikes(&random, faults->delay_permille);
    state->fault_delay_ns = delayed ? faults->delay_ns : 0;
    state->fault_iov = NULL;
    state->faulted = delayed;

    int32_t answer = draw_answer(io, faults, &random);
    if (answer < 0) {
        aio_io_answer_later(io, answer);
        return true;
    }
    if (state->step_op == AIO_IO_WRITE && strikes(&random, faults->stall_permille)) {
        aio_io_answer_later(io, 0);
        return true;
    }
    bool transfer = state->step_op == AIO_IO_READ || state->step_op == AIO_IO_WRITE;
    if (transfer && strikes(&random, faults->short_permille)) {
        draw_short(io, next_random(&random));
    }
    return false;
}

static void delay_is_over(AioTimer *timer)
{
    AioIo *io = aio_container_of(timer, AioIo, state.timer);
    aio_io_step_done(io, io->state.answer);
}

bool aio_io_fault_answer(AioIo *io, int32_t answer)
{
    struct AioIoState *state = &io->state;

    state->faulted = false;
    free(state->fault_iov);
    state->fault_iov = NULL;
    if (state->fault_delay_ns == 0) {
        return false;
    }
    state->answer = answer;
    aio_timer_init(&state->timer, state->engine->ctx, delay_is_over);
    aio_timer_arm_after(&state->timer, state->fault_delay_ns);
    return true;
}

void aio_io_set_faults(AioContext *ctx, const AioIoFaults *faults)
{
    AioIoEngine *engine = aio_io_engine(ctx);

    g_assert(aio_context_is_home(ctx));
    engine->faults_on = faults != NULL;
    if (faults) {
        engine->faults = *faults;
        engine->fault_serial = 0;
    }
}
