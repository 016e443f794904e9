#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A second SIGTERM ends a daemon at once that the first one cannot stop, because a request of it
# does not return.
. "$(dirname "$0")/functions.sh"

require_command flock
mount_passthrough -o locks=remote --stop-timeout=1000
touch "$MNT/lock"
exec {held}>"$SRC/lock"
flock $held
flock "$MNT/lock" true &
waiter=$!
"$HELPERS/stress/churn" --seconds=30 "$MNT" >/dev/null 2>&1 &
churn=$!
at_work() {
    [ -d "$SRC/churn-$churn-0" ] &&
        "$SLUICEFS" stats --json "$MNT" | sed -n 's/^ *"lock_waits" : //p' | grep '^[1-9]' >/dev/null
}
wait_for 10 at_work || fail "the clients do not get so far"
sleep 0.5
pid=${DAEMON[$MNT]}
kill -TERM "$pid"
# A signal that arrives before the one before it was looked at is the same signal.
wait_for 10 grep -q 'stopping on signal' "$DAEMON_LOG" || fail "no word of the first signal"
sleep 0.3
kill -TERM "$pid" 2>/dev/null || true
wait_for 20 has_ended "$pid" || fail "the daemon does not end at once"
wait "$pid" || true
unset "DAEMON[$MNT]"
wait_for 15 has_ended $waiter || fail "the waiting client hangs"
wait_for 15 has_ended $churn || fail "a client hangs"
flock -u $held
is_mounted && fail "still mounted"
exit 0
