/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * Run a command that may not use io_uring, as under a container's seccomp
 * filter: deny-uring COMMAND [ARGUMENT]...
 *
 * io_uring_setup, io_uring_enter and io_uring_register answer EPERM, for the
 * command and all that it starts. Exit status: the command's, 126 if it cannot
 * be run, 125 if the filter cannot be set.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <seccomp.h>

static int deny_uring(void)
{
    static const char *const calls[] = {
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter) {
        return -ENOMEM;
    }
    int status = 0;
    for (size_t i = 0; status == 0 && i < sizeof(calls) / sizeof(calls[0]); i++) {
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
                                  seccomp_syscall_resolve_name(calls[i]), 0);
    }
    /* Keep set-user-ID programs working: root can filter without it. */
    if (status == 0 && geteuid() == 0) {
        status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    }
    if (status == 0) {
        status = seccomp_load(filter);
    }
    seccomp_release(filter);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: deny-uring COMMAND [ARGUMENT]...\n");
        return 125;
    }
    int status = deny_uring();
    if (status < 0) {
        fprintf(stderr, "deny-uring: cannot set the filter: %s\n", strerror(-status));
        return 125;
    }
    execvp(argv[1], argv + 1);
    fprintf(stderr, "deny-uring: cannot run '%s': %s\n", argv[1], strerror(errno));
    return 126;
}
