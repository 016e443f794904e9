/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Connections to an NBD server, and what it can do. */
#ifndef SLUICE_FS_BLOCK_NBD_CONNECT_H
#define SLUICE_FS_BLOCK_NBD_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>
#include <libnbd.h>

typedef struct NbdServer {
    int64_t size; /**< of its disk, bytes */
    bool read_only;
    bool can_flush, can_fua, can_trim, can_zero, can_status, can_multi_conn;
} NbdServer;

/**
 * Connect and wait until requests can be sent. Tries again for @wait_seconds where nobody listens.
 * Close the handle.
 */
struct nbd_handle *block_nbd_connect(const char *uri, double wait_seconds,
                                     GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * Up to @count more connections, at the same time and for no longer than a moment: a server may
 * leave those waiting that it does not want. Returns how many there are at @handles.
 */
unsigned block_nbd_connect_more(const char *uri, unsigned count, struct nbd_handle **handles);

/** What the server at the other end of a connection can do. */
bool block_nbd_ask(struct nbd_handle *handle, NbdServer *server,
                   GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_FS_BLOCK_NBD_CONNECT_H */
