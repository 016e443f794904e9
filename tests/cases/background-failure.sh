#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount that fails is reported to the caller by the background start too: a message that says
# what and why, a status other than 0, and nothing left.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

expect_fail 'none' "$SLUICEFS" passthrough "$CASE_DIR/none" "$MNT"
expect_fail 'none' "$SLUICEFS" passthrough "$SRC" "$CASE_DIR/none"
touch "$CASE_DIR/file"
expect_fail 'file' "$SLUICEFS" passthrough "$CASE_DIR/file" "$MNT"
expect_fail 'file' "$SLUICEFS" passthrough "$SRC" "$CASE_DIR/file"
expect_fail 'pid' "$SLUICEFS" passthrough "$SRC" "$MNT" --pid-file="$CASE_DIR/none/pid"
is_mounted && fail "mounted in spite of the error"
expect_fail 'option' "$SLUICEFS" passthrough "$SRC" "$MNT" -o no_such_option_at_all
is_mounted && fail "mounted in spite of the error"
# /dev/fuse out of reach.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    chmod 755 "$CASE_DIR" "$SRC"
    expect_fail '.' setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
        "$SLUICEFS" passthrough "$SRC" "$MNT"
    is_mounted && fail "mounted in spite of the error"
fi
exit 0
