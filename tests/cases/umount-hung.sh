#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs umount works without the daemon: it gives up on a stopped one when the time is over,
# cuts it off by --force, removes the mount of a dead one, and refuses what is not ours.
#
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

# resume PID: let a stopped daemon run and wait for its end.
resume() {
    kill -CONT "$1"
    expect_daemon_status '0|2'
}

# stop PID: stop a daemon and wait until it has.
stop() {
    kill -STOP "$1"
    wait_for 20 grep -q '^State:.T' "/proc/$1/status" || fail "it does not stop"
}

# requests_wait: somebody waits for the daemon of $MNT.
requests_wait() {
    [ "$(cat "/sys/fs/fuse/connections/$(connection_of)/waiting")" -gt 0 ]
}

note "stopped, idle: unmounted, but it does not exit in time"
mount_passthrough
pid=${DAEMON[$MNT]}
stop "$pid"
expect_fail 'the time is over and the daemon .* still runs' "$SLUICEFS" umount --timeout=3 "$MNT"
resume "$pid"
is_mounted && fail "still mounted"

note "stopped, with a client that waits for it: only --force helps"
mount_passthrough
pid=${DAEMON[$MNT]}
stop "$pid"
ls "$MNT" 2>"$CASE_DIR/client" >&2 &
client=$!
wait_for 20 requests_wait || fail "no request of the client"
expect_fail 'busy' "$SLUICEFS" umount --timeout=3 "$MNT"
expect_fail 'still runs' "$SLUICEFS" umount --force --timeout=3 "$MNT"
is_mounted && fail "still mounted"
# a stopped daemon keeps a request that was on its way over io_uring (docs/design/transport-uring.md)
[ "$ENGINE" = uring ] || wait_for 20 has_ended $client || fail "the client hangs"
resume "$pid"
wait_for 20 has_ended $client || fail "the client hangs"

note "dead"
mount_passthrough
pid=${DAEMON[$MNT]}
kill -KILL "$pid"
expect_daemon_status 137
is_mounted || skip "the kernel removed the mount of a dead daemon"
expect_fail 'daemon is dead' "$SLUICEFS" passthrough "$SRC" "$MNT"
"$SLUICEFS" umount "$MNT"
is_mounted && fail "still mounted"

note "lazily: waits for the last user"
mount_passthrough
exec {file}>"$MNT/file"
"$SLUICEFS" umount --lazy --timeout=20 "$MNT" {file}>&- &
umount=$!
wait_for 20 eval '! is_mounted' || fail "still mounted"
has_ended "${DAEMON[$MNT]}" && fail "the daemon ended before its last user"
echo late >&$file
exec {file}>&-
wait $umount
assert_eq "$(cat "$SRC/file")" late
expect_daemon_status 0

note "a copy of it in another mount namespace: it is said whose"
mount_passthrough
"$TESTS/runner/own-mounts" sleep 1000 &
holder=$!
wait_for 20 grep -qx sleep "/proc/$holder/comm" || fail "no other namespace"
expect_fail "still runs; it is still mounted .* these processes: .*$holder \(sleep\)" \
    "$SLUICEFS" umount --timeout=3 "$MNT"
is_mounted && fail "still mounted"
kill $holder
expect_daemon_status 0

note "not ours"
expect_fail 'not of sluicefs' "$SLUICEFS" umount /proc
expect_fail 'not a mount point' "$SLUICEFS" umount /proc/sys
expect_fail 'No such file' "$SLUICEFS" umount "$CASE_DIR/none"
status=0
"$SLUICEFS" umount "$CASE_DIR/none" 2>/dev/null || status=$?
assert_eq $status 32 'status of a failed unmount'
