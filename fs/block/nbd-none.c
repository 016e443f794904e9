/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* NBD where sluicefs is built without libnbd. */
#include <gio/gio.h>

#include "fs/block/nbd.h"

BlockNode *block_nbd_open(const char *uri, const BlockOpenParams *params, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "cannot open '%s': this sluicefs was built without libnbd", uri);
    return NULL;
}
