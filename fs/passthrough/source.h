/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Opening the directory that is served. */
#ifndef SLUICE_FS_PASSTHROUGH_SOURCE_H
#define SLUICE_FS_PASSTHROUGH_SOURCE_H

#include "fs/passthrough/passthrough.h"

/**
 * An O_PATH descriptor of the source, which the caller closes; -1 with @error set.
 *
 * With params->strictatime it lies on a mount of its own, which ends with the last descriptor of
 * it; without the right to make one it is the source as it is mounted, and a message says so.
 */
int fs_source_open(const FsPassthroughParams *params, GError **error);

#endif
