/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** What /proc tells of the descriptors of other processes (proc_pid_fdinfo(5)). */
#ifndef SLUICE_FS_FDINFO_H
#define SLUICE_FS_FDINFO_H

#include <stdbool.h>

/** Whether @text, the information of one descriptor, is what is looked for. */
typedef bool FsFdinfoFn(const char *text, const void *opaque);

/**
 * Whether @matches says so of any descriptor of process @pid. false also of a process that is gone
 * or that the caller may not look at. Reads files: for set-up and messages. Any thread.
 */
bool fs_fdinfo_any(int pid, FsFdinfoFn *matches, const void *opaque);

#endif /* SLUICE_FS_FDINFO_H */
