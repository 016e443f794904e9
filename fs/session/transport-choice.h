/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Whether requests come over io_uring, or by the device alone, and why. */
#ifndef SLUICE_FS_SESSION_TRANSPORT_CHOICE_H
#define SLUICE_FS_SESSION_TRANSPORT_CHOICE_H

#include "fs/session/session-internal.h"

/** What the parameters ask for, and whether this machine's queues are known. Main thread. */
void fs_choice_init(FsSession *session);
void fs_choice_fini(FsSession *session);

/** Make the worker's rings ready for requests, if that is wanted. On its thread. */
void fs_choice_open(FsWorker *worker);

/** INIT bits to answer with. On the thread that answers INIT. */
uint64_t fs_choice_init_flags(FsSession *session);

/** INIT has been answered: see what the kernel offered. On the thread that answered. */
void fs_choice_settle(FsSession *session);

/** Register the worker's entries, if it has come to that. On its thread, after INIT. */
void fs_choice_begin(FsWorker *worker);

#endif /* SLUICE_FS_SESSION_TRANSPORT_CHOICE_H */
