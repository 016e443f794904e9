/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections to an NBD server: see nbd-connect.h. All of this waits; it is for opening. */
#include "fs/block/nbd-connect.h"

#include <errno.h>

#include <gio/gio.h>

#define CONNECT_SECONDS 30.0 /* to a server that listens and then says nothing */
#define MORE_SECONDS    2.0
#define RETRY_US        (100 * 1000)

static gint64 deadline_in(double seconds)
{
    return g_get_monotonic_time() + (gint64)(seconds * G_USEC_PER_SEC);
}

/* A handle that has begun to connect; NULL as nbd_get_error() tells. */
static struct nbd_handle *begin_connect(const char *uri)
{
    struct nbd_handle *handle = nbd_create();

    if (handle == NULL) {
        return NULL;
    }
    /*
     * Without asking for block sizes the server takes any request, as long as it can; with them,
     * unaligned ones would be ours to read, change and write back.
     */
    if (nbd_set_uri_allow_tls(handle, LIBNBD_TLS_DISABLE) < 0 ||
        nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        nbd_set_request_block_size(handle, false) < 0 ||
        nbd_set_strict_mode(handle, LIBNBD_STRICT_MASK & ~LIBNBD_STRICT_ALIGN) < 0 ||
        nbd_aio_connect_uri(handle, uri) < 0) {
        nbd_close(handle);
        return NULL;
    }
    return handle;
}

/* Wait until requests can be sent. 0 or an errno, with nbd_get_error() unless ETIMEDOUT. */
static int finish_connect(struct nbd_handle *handle, gint64 deadline)
{
    while (nbd_aio_is_connecting(handle) > 0) {
        const gint64 left = deadline - g_get_monotonic_time();

        if (left <= 0) {
            return ETIMEDOUT;
        }
        if (nbd_poll(handle, (int)(left / 1000) + 1) < 0) {
            return nbd_get_errno() == 0 ? EIO : nbd_get_errno();
        }
    }
    return nbd_aio_is_ready(handle) > 0 ? 0 : EIO;
}

static void set_failed(const char *uri, int number, GError **error)
{
    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(number), "cannot connect to '%s': %s",
                uri,
                number == ETIMEDOUT ? "the server does not answer (it may serve one client only)"
                                    : nbd_get_error());
}

struct nbd_handle *block_nbd_connect(const char *uri, double wait_seconds, GError **error)
{
    const gint64 wait_end = deadline_in(wait_seconds);

    for (;;) {
        struct nbd_handle *handle = begin_connect(uri);
        int number = handle != NULL         ? finish_connect(handle, deadline_in(CONNECT_SECONDS))
                     : nbd_get_errno() == 0 ? EIO
                                            : nbd_get_errno();

        if (number == 0) {
            return handle;
        }
        if ((number != ENOENT && number != ECONNREFUSED) || g_get_monotonic_time() >= wait_end) {
            set_failed(uri, number, error);
            nbd_close(handle);
            return NULL;
        }
        nbd_close(handle);
        g_usleep(RETRY_US);
    }
}

unsigned block_nbd_connect_more(const char *uri, unsigned count, struct nbd_handle **handles)
{
    const gint64 deadline = deadline_in(MORE_SECONDS);
    unsigned ready = 0;

    for (unsigned i = 0; i < count; i++) {
        handles[i] = begin_connect(uri);
    }
    for (unsigned i = 0; i < count; i++) {
        if (handles[i] != NULL && finish_connect(handles[i], deadline) == 0) {
            handles[ready] = handles[i];
            ready++;
        } else {
            nbd_close(handles[i]);
        }
    }
    return ready;
}

bool block_nbd_ask(struct nbd_handle *handle, NbdServer *server, GError **error)
{
    *server = (NbdServer){
        .size = nbd_get_size(handle),
        .read_only = nbd_is_read_only(handle) > 0,
        .can_flush = nbd_can_flush(handle) > 0,
        .can_fua = nbd_can_fua(handle) > 0,
        .can_trim = nbd_can_trim(handle) > 0,
        .can_zero = nbd_can_zero(handle) > 0,
        .can_status = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
        .can_multi_conn = nbd_can_multi_conn(handle) > 0,
    };
    if (server->size < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s", nbd_get_error());
        return false;
    }
    return true;
}
