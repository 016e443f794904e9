# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare FUSE daemons on one machine, by turns within one run.

    cli         the command line
    runner      rounds: mount, measure, unmount, candidate after candidate
    candidates  what is compared          stores     where the files lie
    mounts      one mount, its clean-up   workloads  what is done on it
    meter       CPU time, system calls    fio        one kind of workload
    document    the results file          ratios     paired ratios, spread
    table       Markdown                  plot       SVG
    progress    a line on the terminal    errors     what the user is told
"""
