#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# kill -9 of the daemon under load: every client gets an error at once, none hangs, and the
# mountpoint can be unmounted and used again.
#
# limit: 90
. "$(dirname "$0")/functions.sh"

mount_passthrough
"$HELPERS/stress/churn" --seconds=40 "$MNT" &
churn=$!
# Not more than a slow disk takes in a moment: a daemon ends when what it has begun is written.
while dd if=/dev/zero of="$MNT/zeros" bs=1M count=64 2>/dev/null; do :; done &
writer=$!
tail -f "$MNT/zeros" >/dev/null 2>&1 &
reader=$!
sleep 2
has_ended $churn && fail "the load ended early"
kill -KILL "${DAEMON[$MNT]}"
expect_daemon_status 137
wait_for 15 has_ended $churn || fail "a client hangs"
wait_for 15 has_ended $writer || fail "the writer hangs"
status=0
wait $churn || status=$?
assert_eq $status 3 'status of the client'
kill $reader 2>/dev/null || true
wait_for 15 has_ended $reader || fail "the reader hangs"
is_mounted || fail "the mount is gone; expected a dead one"
expect_fail 'not connected|aborted' timeout 10 ls "$MNT"
timeout 10 "$SLUICEFS" umount "$MNT" || timeout 10 umount "$MNT"
is_mounted && fail "still mounted"

mount_passthrough
echo again >"$MNT/again"
assert_eq "$(cat "$SRC/again")" again
unmount
