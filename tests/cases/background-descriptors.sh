#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A daemon in the background keeps nothing of its caller: no descriptor (an flock'ed one would
# stay locked), no working directory, no pipe that somebody reads to its end. Relative paths
# still mean what the caller meant, and SIGHUP opens the log again.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command flock
touch "$CASE_DIR/lock"
exec {lock}<>"$CASE_DIR/lock"
flock $lock
cd "$CASE_DIR"
timeout 20 "$SLUICEFS" passthrough src mnt --pid-file=pid --log=log 2>&1 | cat
exec {lock}>&-
flock --nonblock "$CASE_DIR/lock" true || fail "the daemon keeps the lock of its caller"
echo works >mnt/file
assert_eq "$(cat src/file)" works
pid=$(cat pid)
for fd in "/proc/$pid/fd"/*; do
    case $(readlink "$fd") in
    "$CASE_DIR/lock" | pipe:* | /dev/pts/*) fail "descriptor $fd is $(readlink "$fd")" ;;
    esac
done

mv log log.old
kill -HUP "$pid"
wait_for 20 test -e log || fail "the log was not opened again"
kill -USR1 "$pid"
wait_for 20 grep -q 'requests' log || fail "SIGUSR1 did not log the counters"
"$SLUICEFS" umount mnt --timeout=$((20 * CASE_SCALE))
grep -q "serving 'src'" log.old
