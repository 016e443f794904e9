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

# connection_is_gone NUMBER: its number may have gone to a mount of somebody else.
connection_is_gone() {
    [ ! -e "/sys/fs/fuse/connections/$1" ] ||
        awk -v dev="0:$1" '$3 == dev { found = 1 } END { exit !found }' /proc/self/mountinfo
}

descriptors=$(ls /proc/$$/fd | wc -l)
for ((round = 1; round <= 100; round++)); do
    mount_passthrough --stop-timeout=1
    pid=${DAEMON[$MNT]}
    connection=$(connection_of)
    "$HELPERS/stress/churn" --seconds=30 --threads=2 "$MNT" >/dev/null 2>&1 &
    churn=$!
    sleep "0.0$((round % 7))"
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
    ! is_mounted || fail "round $round: still mounted"
    wait_for 10 connection_is_gone "$connection" || fail "round $round: the connection is left"
    rm -rf "${SRC:?}"/churn-*
done
assert_eq "$(ls /proc/$$/fd | wc -l)" "$descriptors" 'descriptors of the case'
