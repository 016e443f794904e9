#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# 100 mounts and unmounts under load, one after the other, leave no process, descriptor, thread
# or mount behind.
#
# limit: 600
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

mounts_before=$(wc -l </proc/self/mountinfo)
connections_before=$(ls /sys/fs/fuse/connections | wc -l)
for ((round = 1; round <= 100; round++)); do
    mount_passthrough
    pid=${DAEMON[$MNT]}
    "$HELPERS/stress/churn" --seconds=30 --threads=2 "$MNT" >/dev/null 2>&1 &
    churn=$!
    case $((round % 4)) in
    0) kill -TERM "$pid" ;;
    1) umount -l "$MNT"; kill $churn 2>/dev/null || true ;;
    2) kill -KILL $churn 2>/dev/null || true ;;
    3) abort_connection ;;
    esac
    wait_for 20 has_ended $churn || { kill -KILL $churn; wait_for 10 has_ended $churn || fail "a client hangs"; }
    wait $churn 2>/dev/null || true
    if [ $((round % 4)) -eq 2 ]; then
        unmount
    else
        expect_daemon_status '[0-9]+'
    fi
    if is_mounted; then
        umount "$MNT"
    fi
    rm -rf "${SRC:?}"/churn-*
done
assert_eq "$(wc -l </proc/self/mountinfo)" "$mounts_before" mounts
assert_eq "$(ls /sys/fs/fuse/connections | wc -l)" "$connections_before" 'FUSE connections'
