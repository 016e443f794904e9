/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Why the kernel gives this process no io_uring, in words.
 *
 * The kernel answers EPERM both for its sysctl and for a seccomp filter; only
 * the settings themselves tell which one it was.
 */
#include "tools/sluicefs/uring-reason.h"

#include <errno.h>
#include <string.h>

#include <glib.h>

bool uring_reason_has_seccomp_filter(void)
{
    g_autofree char *status = NULL;

    return g_file_get_contents("/proc/self/status", &status, NULL, NULL) &&
           strstr(status, "\nSeccomp:\t2\n") != NULL;
}

char *uring_reason_explain(int error)
{
    g_autofree char *disabled = NULL;
    const char *why = NULL;

    if (error == EPERM &&
        g_file_get_contents("/proc/sys/kernel/io_uring_disabled", &disabled, NULL, NULL)) {
        if (disabled[0] == '2') {
            why = "switched off by the sysctl kernel.io_uring_disabled=2";
        } else if (disabled[0] == '1') {
            why = "the sysctl kernel.io_uring_disabled=1 allows it only to the group "
                  "kernel.io_uring_group";
        }
    }
    if (why == NULL && (error == EPERM || error == EACCES) && uring_reason_has_seccomp_filter()) {
        why = "forbidden by a seccomp filter, as containers have it";
    } else if (error == ENOSYS) {
        why = "the kernel has no io_uring, or a seccomp filter hides it";
    } else if (error == ENOMEM) {
        why = "look at the limit for locked memory";
    }
    return why == NULL ? g_strdup(g_strerror(error))
                       : g_strdup_printf("%s: %s", g_strerror(error), why);
}
