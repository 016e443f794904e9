#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A long-lived daemon that serves one load after the other keeps its descriptors and threads
# constant.
#
# limit: 90
# quick: no
. "$(dirname "$0")/functions.sh"

mount_passthrough
pid=${DAEMON[$MNT]}
rest() {
    # Forget the inodes that the kernel still caches, then count.
    rm -rf "${MNT:?}"/*
    [ "$(id -u)" -ne 0 ] || echo 2 >/proc/sys/vm/drop_caches
    sleep 0.5
    ls "/proc/$pid/fd" | wc -l
}
"$HELPERS/stress/churn" --seconds=1 --threads=8 "$MNT"
fds=$(rest)
for _ in 1 2 3; do
    "$HELPERS/stress/churn" --seconds=1 --threads=8 "$MNT"
    cp -r /usr/include/linux "$MNT/"
    cp -r /usr/include/linux "$MNT/again"
    mv "$MNT/again" "$MNT/moved"
    rm -r "$MNT/linux" "$MNT/moved"
done
few_descriptors() {
    now=$(rest)
    [ "$now" -le $((fds + 8)) ]
}
wait_for 15 few_descriptors || fail "$fds descriptors at first, $now later"
few_threads() {
    threads=$(ls "/proc/$pid/task" | wc -l)
    [ "$threads" -le $((THREADS + 20)) ]
}
# Helpers, and the kernel's own for each ring, end when they had nothing to do for five seconds.
wait_for 20 few_threads || fail "$threads threads: $(cat "/proc/$pid/task"/*/comm)"
unmount
