/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Errors of the set-up path: a GError whose code is a positive errno. */
#ifndef SLUICE_AIO_ERROR_H
#define SLUICE_AIO_ERROR_H

#include <glib.h>

#define AIO_ERROR (aio_error_quark())
GQuark aio_error_quark(void);

#endif /* SLUICE_AIO_ERROR_H */
