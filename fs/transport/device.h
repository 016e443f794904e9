/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The classic transport: a clone of the mount's /dev/fuse descriptor per worker. */
#ifndef SLUICE_FS_TRANSPORT_DEVICE_H
#define SLUICE_FS_TRANSPORT_DEVICE_H

#include <stdbool.h>

#include <glib.h>

#include "aio/buffer.h"
#include "fs/transport/transport.h"

typedef struct FsDeviceParams {
    AioContext *ctx;                 /**< the worker's; the caller is its home thread */
    int main_fd;                     /**< descriptor of the mount, to be cloned; borrowed */
    size_t data_size;                /**< longest data of a READ or WRITE; bytes */
    AioBufferDepot *buffers;         /**< of fs_device_buffers_new() for @data_size; borrowed */
    bool is_first;                   /**< of the session: says in the log what all would say */
    const FsTransportEvents *events; /**< must outlive the transport */
    void *opaque;
} FsDeviceParams;

/** Where the workers of a mount leave large free buffers to each other. */
AioBufferDepot *fs_device_buffers_new(size_t data_size);

/**
 * Open the worker's clone and its buffers. Home thread of @ctx. The context
 * needs a registered-file table with at least one slot to save the kernel a
 * file look-up per answer; without, plain descriptors are used.
 */
FsTransport *fs_device_new(const FsDeviceParams *params, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/** From now on the worker may follow a client to its CPU (follow.h). Home thread, once. */
void fs_device_follow(FsTransport *transport);

/** The worker's clone; *@slot: where it is in the ring's file table, or -1. Home thread. */
int fs_device_fd(FsTransport *transport, int *slot);

#endif /* SLUICE_FS_TRANSPORT_DEVICE_H */
