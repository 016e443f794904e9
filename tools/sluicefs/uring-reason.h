/* SPDX-License-Identifier: LGPL-2.1-or-later */
/** Why the kernel gives this process no io_uring, in words. */
#ifndef SLUICE_TOOLS_URING_REASON_H
#define SLUICE_TOOLS_URING_REASON_H

#include <stdbool.h>

/** What is behind @error of making a ring. Free with g_free(). */
char *uring_reason_explain(int error);

/** Whether a seccomp filter is in force for this process. */
bool uring_reason_has_seccomp_filter(void);

#endif /* SLUICE_TOOLS_URING_REASON_H */
