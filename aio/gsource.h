/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** An AioContext driven by a GLib main loop instead of aio_context_poll(). */
#ifndef SLUICE_AIO_GSOURCE_H
#define SLUICE_AIO_GSOURCE_H

#include <glib.h>

#include "aio/context.h"

/**
 * A GSource that turns @ctx; attach it to the main context of the home thread
 * and unref. Busy polling never happens here. Destroy the source before the
 * context. aio_context_poll() stays legal (nested) while attached.
 *
 * The context must have been created with AIO_RING_POLLABLE in its ring flags;
 * where the monitor is not io_uring, the flag does nothing.
 */
GSource *aio_gsource_new(AioContext *ctx);

#endif /* SLUICE_AIO_GSOURCE_H */
