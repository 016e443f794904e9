/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** From the options for disk images to the parameters of opening one. */
#ifndef SLUICE_TOOLS_DISK_OPEN_H
#define SLUICE_TOOLS_DISK_OPEN_H

#include "fs/block/open.h"
#include "tools/sluicefs/options.h"

/** An error says which option is wrong. */
bool disk_open_params(const Options *options, BlockOpenParams *params, GError **error);

#endif /* SLUICE_TOOLS_DISK_OPEN_H */
