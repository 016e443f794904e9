/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * FUSE over io_uring, beside a worker's device transport.
 *
 * Life: new -> begin -> (serving) -> stop -> free -> release. Functions are
 * for the worker's thread unless they say otherwise.
 */
#ifndef SLUICE_FS_TRANSPORT_URING_H
#define SLUICE_FS_TRANSPORT_URING_H

#include <stdbool.h>

#include <glib.h>

#include "fs/transport/transport.h"
#include "fs/transport/uring-memory.h"

typedef struct FsUringParams {
    AioContext *ctx;                 /**< the worker's; with 128-byte SQEs */
    const FsTransportEvents *events; /**< take, received; must outlive the transport */
    FsUringMemory *memory;           /**< shared by all of the mount; must outlive the transport */
    /** The kernel will not use the rings; the device serves alone. At most once. */
    void (*refused)(int error, void *opaque);
    /** An answer could not be given: its client waits until the connection is cut. */
    void (*broken)(int error, void *opaque);
    void *opaque;
} FsUringParams;

typedef struct FsUringBegin {
    int device_fd;          /**< the worker's clone; must stay open until stop() */
    int device_slot;        /**< where it is in the ring's file table; -1: not there */
    const unsigned *queues; /**< that this worker serves */
    unsigned queue_count;
    unsigned depth; /**< entries for each queue at the start */
    /** Of all workers, if this one is to run where its queues are; 0: anywhere. */
    unsigned all_queues;
    size_t payload_size; /**< longest payload, as INIT settled it; bytes */
} FsUringBegin;

/** NULL, with the reason, where the context or the kernel's io_uring cannot do it. */
FsTransport *fs_uring_new(const FsUringParams *params, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Register the entries. Once, after INIT has been answered with
 * FS_FUSE_OVER_IO_URING: until every queue has an entry no request is sent.
 */
void fs_uring_begin(FsTransport *transport, const FsUringBegin *begin);

/**
 * Release what the kernel may write to for as long as the ring exists. Any
 * thread, after the transport's free() and the end of its context.
 */
void fs_uring_release(FsTransport *transport);

#endif /* SLUICE_FS_TRANSPORT_URING_H */
