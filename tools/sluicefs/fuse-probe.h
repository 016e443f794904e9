/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What the kernel offers in FUSE INIT, learned from a mount that nobody sees. */
#ifndef SLUICE_TOOLS_FUSE_PROBE_H
#define SLUICE_TOOLS_FUSE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct FuseProbe {
    bool known;          /**< the kernel has been asked; otherwise error and step say why not */
    int error;           /**< errno of the step that failed */
    const char *step;    /**< static; what failed */
    bool user_namespace; /**< asked from inside a user namespace, as root was not at hand */
    unsigned major, minor;
    unsigned max_readahead;
    uint64_t flags; /**< FUSE_* INIT bits, flags2 in the upper half */
} FuseProbe;

/** Ask the kernel. Takes a child process and some milliseconds. */
void fuse_probe(FuseProbe *probe);

/** Name of INIT bit @bit (0..63), or NULL. */
const char *fuse_probe_flag_name(unsigned bit);

#endif /* SLUICE_TOOLS_FUSE_PROBE_H */
