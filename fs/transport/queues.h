/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** The queues of FUSE over io_uring: how many there are, and who serves them. */
#ifndef SLUICE_FS_TRANSPORT_QUEUES_H
#define SLUICE_FS_TRANSPORT_QUEUES_H

#include <stdbool.h>

/** CPUs in a list of the kernel's, "0-3,8\n"; 0 if it is malformed. */
unsigned fs_queues_parse(const char *list);

/**
 * Queues that the kernel has for each connection: one for each CPU that this
 * machine may ever have online. 0: not known.
 */
unsigned fs_queues_count(void);

/** Whether worker @worker of @workers serves queue @queue of @queues. */
bool fs_queues_serves(unsigned worker, unsigned workers, unsigned queue, unsigned queues);

#endif /* SLUICE_FS_TRANSPORT_QUEUES_H */
