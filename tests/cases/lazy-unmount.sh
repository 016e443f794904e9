#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# After umount -l under load the daemon goes on until the last user is gone, then ends with
# status 0.
. "$(dirname "$0")/functions.sh"

mount_passthrough
echo kept >"$MNT/file"
exec {file}<>"$MNT/file"
cd "$MNT"
"$HELPERS/stress/churn" --seconds=3 . &
churn=$!
sleep 1
umount -l "$MNT"
is_mounted && fail "still mounted"
assert_eq "$(cat file)" kept 'read in the detached mount'
wait $churn || fail "the load failed after umount -l"
cat <&$file >/dev/null
has_ended "${DAEMON[$MNT]}" && fail "the daemon ended before its last user"
cd "$CASE_DIR"
exec {file}>&-
expect_daemon_status 0
