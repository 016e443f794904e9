/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * A file system for tests: "stuck", whose reads wait on a helper thread as for a
 * lock; "setuid", a file with set-id bits; unnamed files. Attributes and directories
 * are only taken note of.
 */
#ifndef SLUICE_TESTS_UNIT_PROBE_FS_H
#define SLUICE_TESTS_UNIT_PROBE_FS_H

#include <pthread.h>
#include <stdbool.h>

#include "fs/session/session.h"

enum { PROBE_STUCK = 2, PROBE_SETUID, PROBE_TMPFILE };

/** Userdata of the file system. */
typedef struct Probe {
    pthread_mutex_t lock;
    pthread_cond_t interrupted_or_let_go;
    bool let_go;      /* locked */
    int stuck;        /* atomic: READs of "stuck" that wait now */
    int interrupts;   /* atomic: interrupt callbacks */
    int set_id_kills; /* atomic: WRITEs that must drop set-id bits */

    /* of the last SETXATTR and MKDIR; read after their answers */
    char xattr[64]; /* NAME=VALUE */
    int xattr_flags;
    bool acl_kills_sgid, has_group;
    gid_t group;
} Probe;

extern const FsFilesystem probe_filesystem;

void probe_init(Probe *probe);

/** Let the reads of "stuck" answer EBUSY, now and later. */
void probe_let_go(Probe *probe);

#endif /* SLUICE_TESTS_UNIT_PROBE_FS_H */
