/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain of the set-up path. */
#include "aio/error.h"

G_DEFINE_QUARK(sluice - aio - error - quark, aio_error)
