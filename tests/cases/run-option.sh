#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# --run mounts, runs the command with $MNT set, unmounts and gives back its status.
. "$(dirname "$0")/functions.sh"

engine_options
run() {
    "${WRAPPER[@]}" "$SLUICEFS" passthrough "$SRC" "$MNT" "${OPTIONS[@]}" --run "$1"
}
run 'echo made >"$MNT/file" && test "$(stat -f -c %T "$MNT")" = fuseblk -o "$(stat -f -c %T "$MNT")" = fuse'
assert_eq "$(cat "$SRC/file")" made
is_mounted && fail "still mounted"
status=0
run 'exit 7' || status=$?
assert_eq $status 7 'status of the command'
is_mounted && fail "still mounted"
status=0
run 'kill -TERM $$' || status=$?
assert_eq $status 143 'status of a command that was killed'
is_mounted && fail "still mounted"
# What the caller ignores, the command ignores, and so does the daemon.
(
    trap '' HUP
    run 'kill -HUP $PPID; kill -HUP $$; exit 5' || status=$?
    assert_eq "$status" 5 'status of a command that ignores SIGHUP'
)
exit 0
