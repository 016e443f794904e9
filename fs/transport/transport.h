/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * How requests reach a worker and answers leave it.
 *
 * The session is written against this interface; the device transport
 * (device.c: a cloned /dev/fuse per worker) is always there, FUSE over
 * io_uring (uring.c) comes beside it where it is wanted and to be had.
 *
 * A transport asks its worker for an empty FsRequest, gives it a buffer, fills
 * it and reports it as received. From then on the request is the worker's
 * until the worker returns the buffer through recycle().
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

/**
 * Bytes of a FUSE_WRITE before its data: fuse_in_header and fuse_write_in. It
 * lies so that its data is page aligned: FsRequest.data.
 */
#define FS_TRANSPORT_HEADROOM 80

/** Traffic with the kernel. */
typedef struct FsTransportStats {
    uint64_t reads;   /**< read(2) calls */
    uint64_t eagain;  /**< of them that found nothing */
    uint64_t writes;  /**< write calls that were not ring requests */
    uint64_t fetched; /**< requests that came by io_uring */
} FsTransportStats;

struct FsTransportOps {
    const char *name;
    /** Begin to take requests. On the worker's thread. 0 or negative errno. */
    int (*start)(FsTransport *transport);
    /** Take no more; what was taken is still answered. On the worker's thread. */
    void (*stop)(FsTransport *transport);
    /** The worker, which had no empty request to give, has one again. On its thread. */
    void (*resume)(FsTransport *transport);
    /** Take back the buffer of a request that nobody uses. On the worker's thread. */
    void (*recycle)(FsTransport *transport, FsRequest *request);
    /** A helper thread gets the request, which may now take long. May be NULL. On its thread. */
    void (*offloaded)(FsTransport *transport, FsRequest *request);
    /**
     * The request @unique is to be interrupted: if it is held back because the
     * worker is full, set FsRequest.interrupted when it goes on. May be NULL for
     * a transport that reads requests in order. On the worker's thread.
     */
    void (*interrupt)(FsTransport *transport, uint64_t unique);
    /** Nothing has come for a while: give memory back. On the worker's thread. */
    void (*idle)(FsTransport *transport);
    /**
     * Release everything; FUSE over io_uring keeps what the kernel may still
     * write to. On the worker's thread, nothing in flight.
     */
    void (*free)(FsTransport *transport);
    /**
     * Send an answer. @iov[0] is the fuse_out_header. Any thread.
     *
     * Where FsRequest.deferrable is set and the caller is the worker's own
     * thread, the answer may travel with its next submission. Ends with
     * fs_request_sent(), at once or later, whatever the result.
     * 0 or negative errno: ENOENT and ENODEV mean that nobody waits any more.
     */
    int (*reply)(FsTransport *transport, FsRequest *request, struct iovec *iov, int iov_count);
    /** Send a message that answers no request of ours. 0 or negative errno. Any thread. */
    int (*send)(FsTransport *transport, const struct iovec *iov, int iov_count);
    void (*get_stats)(FsTransport *transport, FsTransportStats *stats);
};

struct FsTransport {
    const FsTransportOps *ops;
};

/** What a transport tells its worker. Called on the worker's thread. */
typedef struct FsTransportEvents {
    /**
     * An empty request to fill, or NULL: the worker holds as many as it may.
     * The transport then pauses until resume().
     */
    FsRequest *(*take)(void *opaque);
    /** Return a request that was taken and never received. */
    void (*untake)(FsRequest *request, void *opaque);
    /** A whole request lies at FsRequest.start, FsRequest.length bytes, since received_at. */
    void (*received)(FsRequest *request, void *opaque);
    /** No more will come: ENODEV unmounted, ECONNABORTED aborted, other errno. Once. */
    void (*closed)(int error, void *opaque);
} FsTransportEvents;

#endif /* SLUICE_FS_TRANSPORT_TRANSPORT_H */
