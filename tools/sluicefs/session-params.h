/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the options of the command line mean for a session and for its mount. */
#ifndef SLUICE_TOOLS_SESSION_PARAMS_H
#define SLUICE_TOOLS_SESSION_PARAMS_H

#include "fs/session/session.h"
#include "tools/sluicefs/options.h"

/**
 * Set @params from @options; their strings are not copied. What depends on the backend, on paths
 * and on the caller's events is left to the caller.
 */
void session_params_init(FsSessionParams *params, const Options *options);

/** The comma list that @options mean for mount(2) and fusermount3. g_free(). */
char *session_params_mount_options(const Options *options);

#endif /* SLUICE_TOOLS_SESSION_PARAMS_H */
