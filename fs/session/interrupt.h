/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** INTERRUPTs of requests that come by io_uring, which they may overtake. */
#ifndef SLUICE_FS_SESSION_INTERRUPT_H
#define SLUICE_FS_SESSION_INTERRUPT_H

#include "fs/session/worker.h"

/** Tell the operation of @request, which @worker has and which is not answered. Home thread. */
void fs_interrupt_deliver(FsWorker *worker, const FsRequest *request);

/**
 * An INTERRUPT for the request @unique has come by the device, while requests
 * come by io_uring: find the request, wherever it is, and tell its operation.
 * The thread of any worker that is not closed.
 */
void fs_interrupt_find(FsSession *session, uint64_t unique);

#endif /* SLUICE_FS_SESSION_INTERRUPT_H */
