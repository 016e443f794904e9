/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The queues of FUSE over io_uring: how many there are, and who serves them. */
#ifndef SLUICE_FS_TRANSPORT_QUEUES_H
#define SLUICE_FS_TRANSPORT_QUEUES_H

#include <stdbool.h>
#include <stddef.h>

#include <sched.h>

/** CPUs in a list of the kernel's, "0-3,8\n"; 0 if it is malformed. */
unsigned fs_queues_parse(const char *list);

/**
 * Queues that the kernel has for each connection: one for each CPU that this
 * machine may ever have online. 0: not known.
 */
unsigned fs_queues_count(void);

/** CPUs that are online; some C libraries' sysconf(3) counts the thread's own. 0: not known. */
unsigned fs_queues_count_online(void);

/**
 * The order in which @queues are dealt out: first those of the CPUs in @allowed (@size bytes; may
 * be NULL), so that each worker gets one at which it may run, then the others.
 */
void fs_queues_order(unsigned *order, unsigned queues, const cpu_set_t *allowed, size_t size);

/** Whether worker @worker of @workers serves the queue at @position in that order of @queues. */
bool fs_queues_serves(unsigned worker, unsigned workers, unsigned position, unsigned queues);

#endif /* SLUICE_FS_TRANSPORT_QUEUES_H */
