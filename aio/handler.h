/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Callbacks for the readiness of file descriptors. */
#ifndef SLUICE_AIO_HANDLER_H
#define SLUICE_AIO_HANDLER_H

#include <stdbool.h>

#include "aio/context.h"

typedef void AioFdFn(void *opaque);
/** Looks for work without a system call; true: there is some. */
typedef bool AioFdPollFn(void *opaque);

typedef struct AioFdOps {
    AioFdFn *read;       /**< descriptor readable, hung up or in error */
    AioFdFn *write;      /**< descriptor writable or in error */
    AioFdPollFn *poll;   /**< optional check while spinning; needs poll_ready */
    AioFdFn *poll_ready; /**< called when poll returned true */
    AioFdFn *poll_begin; /**< optional: the context starts to spin on this handler */
    AioFdFn *poll_end;   /**< optional: it stops; the producer must signal again */
    bool exclusive;      /**< wake one of several sleeping contexts (EPOLLEXCLUSIVE) */
} AioFdOps;

/**
 * Set, replace or remove (@ops NULL or without any of read, write, poll) the
 * callbacks of @fd. Any thread; a sleeping loop reacts at once.
 *
 * Level triggered: the callback runs again in the next turn unless the cause
 * is gone. From a callback of the same context any change is legal, also of
 * the handler that is running. After removal on the home thread no callback
 * of the old handler runs; the descriptor may then be closed.
 */
void aio_set_fd_handler(AioContext *ctx, int fd, const AioFdOps *ops, void *opaque);

#endif /* SLUICE_AIO_HANDLER_H */
