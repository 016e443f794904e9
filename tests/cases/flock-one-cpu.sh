#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two clients on one CPU that wait for each other by flock, with locks=remote, never deadlock the
# daemon.
#
# limit: 180
. "$(dirname "$0")/functions.sh"

require_command flock taskset
mount_passthrough -o locks=remote
touch "$MNT/lock"
cat >"$CASE_DIR/client" <<'CLIENT'
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    flock "$1/lock" -c "cat '$1/counter' >/dev/null 2>&1; n=\$(cat '$1/counter'); echo \$((n + 1)) >'$1/counter'"
done
CLIENT
echo 0 >"$MNT/counter"
pids=()
for _ in 1 2 3 4; do
    taskset -c 0 sh "$CASE_DIR/client" "$MNT" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a client failed"
done
assert_eq "$(cat "$MNT/counter")" 80 'increments under the lock'

# More waiters than helper threads: the release must still get through.
waiters=()
exec {held}>"$MNT/lock"
flock $held
for _ in {1..40}; do
    taskset -c 0 flock "$MNT/lock" true &
    waiters+=($!)
done
sleep 1
assert_eq "$(timeout 20 cat "$MNT/counter")" 80 'read while 40 clients wait'
timeout 20 flock -n "$MNT/lock" true && fail "the lock was given twice"
flock -u $held
exec {held}>&-
for pid in "${waiters[@]}"; do
    wait "$pid" || fail "a waiter failed"
done

# A waiter that is killed goes away, and its lock is not kept.
exec {held}>"$MNT/lock"
flock $held
flock "$MNT/lock" true &
waiter=$!
sleep 0.5
kill -KILL $waiter
wait $waiter 2>/dev/null || true
flock -u $held
exec {held}>&-
timeout 20 flock "$MNT/lock" true
unmount
