#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SIGTERM and SIGINT unmount, answer what is in flight and end with status 0; nothing written is
# lost.
. "$(dirname "$0")/functions.sh"

# at_work: each of the four clients has its directory; a late one would make it below the removed mount.
at_work() {
    [ "$(find "$SRC" -maxdepth 1 -name 'churn-*' | wc -l)" -eq 4 ]
}

for signal in TERM INT; do
    mount_passthrough
    head -c 20000000 /dev/urandom >"$CASE_DIR/data"
    cp "$CASE_DIR/data" "$MNT/data-$signal"
    "$HELPERS/stress/churn" --seconds=30 "$MNT" &
    churn=$!
    wait_for 15 at_work || fail "the clients do not begin"
    sleep 1
    kill -$signal "${DAEMON[$MNT]}"
    expect_daemon_status 0
    is_mounted && fail "still mounted after SIG$signal"
    wait_for 15 has_ended $churn || fail "a client hangs"
    cmp "$CASE_DIR/data" "$SRC/data-$signal"
    rm -rf "${SRC:?}"/*
done
