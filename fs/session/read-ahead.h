/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** How far the kernel reads ahead in files of the mount. */
#ifndef SLUICE_FS_SESSION_READ_AHEAD_H
#define SLUICE_FS_SESSION_READ_AHEAD_H

#include <sys/types.h>

#include "fs/session/session.h"

/** A READ is not larger than this. */
#define FS_READ_AHEAD_MAX_KIB 1024

/** KiB that are read ahead on the file system with st_dev @device; 0: not known. */
unsigned fs_read_ahead_get(dev_t device);

/** Set it. 0 or negative errno (EACCES, EPERM, EROFS: only root of the host may). */
int fs_read_ahead_set(dev_t device, unsigned kib);

/**
 * What to set on a mount that reads ahead @mount KiB of a source that reads ahead @source; 0:
 * leave it.
 */
unsigned fs_read_ahead_choose(unsigned source, unsigned mount);

/** Let the mount, which serves, read ahead as a source that reads ahead @source KiB, if it may. */
void fs_read_ahead_as_source(const FsSession *session, unsigned source);

#endif /* SLUICE_FS_SESSION_READ_AHEAD_H */
