#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Where io_uring is not allowed, the daemon says so once, with the reason, and serves;
# --io-engine=uring refuses to start.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

[ -x "$HELPERS/runner/deny-uring" ] || skip "deny-uring was not built (libseccomp)"
ENGINE=denied mount_passthrough
echo works >"$MNT/file"
assert_eq "$(cat "$SRC/file")" works
unmount
cat "$DAEMON_LOG"
assert_eq "$(grep -ci 'io_uring' "$DAEMON_LOG")" 1 'log lines about io_uring'
grep -qiE 'io_uring.*(not permitted|denied)' "$DAEMON_LOG" || fail "the reason is missing"
expect_fail 'io_uring|uring' "$HELPERS/runner/deny-uring" "$SLUICEFS" passthrough "$SRC" "$MNT" --io-engine=uring
is_mounted && fail "mounted in spite of the error"
exit 0
