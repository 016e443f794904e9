/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How requests reach a worker and answers leave it.
 *
 * The session is written against this interface; the device transport
 * (device.c: a cloned /dev/fuse per worker) is always there, FUSE over
 * io_uring comes beside it.
 */
#ifndef SLUICE_FS_TRANSPORT_TRANSPORT_H
#define SLUICE_FS_TRANSPORT_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "aio/context.h"

typedef struct FsTransport FsTransport;
typedef struct FsTransportOps FsTransportOps;
typedef struct FsRequest FsRequest;

struct FsTransportOps {
    const char *name;
    /** Begin to take requests. On the worker's thread. 0 or negative errno. */
    int (*start)(FsTransport *transport);
    /** Take no more; what was taken is still answered. On the worker's thread. */
    void (*stop)(FsTransport *transport);
    /** Release everything. On the worker's thread, nothing in flight. */
    void (*free)(FsTransport *transport);
    /**
     * Send an answer. @iov[0] is the fuse_out_header. Any thread; on the
     * worker's own thread the answer may travel with its next submission.
     * 0 or negative errno.
     */
    int (*reply)(FsTransport *transport, FsRequest *request, const struct iovec *iov,
                 int iov_count);
};

/** What a transport tells its worker. Called on the worker's thread. */
typedef struct FsTransportEvents {
    /** A whole request lies in the request's buffer. */
    void (*received)(FsRequest *request, void *opaque);
    /** No more will come: ENODEV unmounted, ECONNABORTED aborted, other errno. */
    void (*closed)(int error, void *opaque);
} FsTransportEvents;

#endif /* SLUICE_FS_TRANSPORT_TRANSPORT_H */
