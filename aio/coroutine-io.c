/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A coroutine that waits for a transfer of the I/O engine. */
#include <assert.h>

#include "aio/coroutine.h"
#include "aio/io.h"

typedef struct CoroutineIo {
    AioIo io;
    AioCoroutine *co;
    bool done;
} CoroutineIo;

static void coroutine_io_done(AioIo *io)
{
    CoroutineIo *wait = aio_container_of(io, CoroutineIo, io);
    wait->done = true;
    aio_co_wake(wait->co);
}

int aio_co_io(AioIo *io)
{
    /* A copy, not yet submitted, so that the completion finds its coroutine. */
    CoroutineIo wait = {.io = *io, .co = aio_co_self()};

    assert(wait.co != NULL);
    if (io->iov == &io->single) {
        wait.io.iov = &wait.io.single;
    }
    aio_io_submit(aio_context_current(), &wait.io, coroutine_io_done);
    while (!wait.done) {
        aio_co_yield();
    }
    io->result = wait.io.result;
    io->transferred = wait.io.transferred;
    return io->result;
}
