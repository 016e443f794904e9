/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** A disk that a server shows by NBD: every format of qemu-nbd, nbdkit and others. */
#ifndef SLUICE_FS_BLOCK_NBD_H
#define SLUICE_FS_BLOCK_NBD_H

#include "fs/block/open.h"

/** Whether @text names an NBD server (nbd:..., nbd+unix:..., nbd+vsock:...) and not a file. */
bool block_nbd_is_uri(const char *text);

/** The same with the path of its socket made absolute. Free it. */
char *block_nbd_absolute_uri(const char *uri);

/**
 * Connect to the server at @uri and open its disk: access, wait_seconds and connections of
 * @params count. Before any worker runs.
 *
 * Requests of a node are under way on one of its connections, on the thread that submitted them
 * or on that of another request; so no thread's context may be freed while any thread has a request
 * under way.
 */
BlockNode *block_nbd_open(const char *uri, const BlockOpenParams *params,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

#endif /* SLUICE_FS_BLOCK_NBD_H */
