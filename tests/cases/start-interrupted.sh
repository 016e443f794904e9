#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGTERM at any moment of the start, to the caller in the background form or to the daemon in
# the foreground, leaves neither a mount nor a process.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

settled() {
    ! is_mounted && ! pgrep -f "passthrough $SRC $MNT" >/dev/null
}

served=0 stopped=0
for delay in 0 1 2 3 4 5 6 8 10 13 16 20 25 30 40 60; do
    for form in '' -f; do
        "$SLUICEFS" passthrough "$SRC" "$MNT" ${form:+$form} 2>>"$CASE_DIR/messages" &
        caller=$!
        sleep "0.$(printf '%03d' $delay)"
        kill -TERM $caller 2>/dev/null || true
        status=0
        wait $caller || status=$?
        note "after $delay ms, ${form:-background}: status $status"
        case $form:$status in
        :0)
            served=$((served + 1))
            "$SLUICEFS" umount "$MNT" --timeout=60
            ;;
        :8 | :143 | -f:0 | -f:8 | -f:143) stopped=$((stopped + 1)) ;;
        *) fail "status $status" ;;
        esac
        wait_for 20 settled || fail "left behind after $delay ms ${form:-background}"
    done
done
note "$served served, $stopped stopped"
