#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs umount returns only when everything written is in the source and the daemon has ended.
. "$(dirname "$0")/functions.sh"

head -c 50000000 /dev/urandom >"$CASE_DIR/data"
for _ in 1 2 3; do
    engine_options
    "${WRAPPER[@]}" "$SLUICEFS" passthrough "$SRC" "$MNT" "${OPTIONS[@]}" --pid-file="$CASE_DIR/pid"
    pid=$(cat "$CASE_DIR/pid")
    cp "$CASE_DIR/data" "$MNT/data"
    "$SLUICEFS" umount "$MNT"
    has_ended "$pid" || fail "umount returned before the daemon ended"
    is_mounted && fail "umount returned before the mount was gone"
    cmp "$CASE_DIR/data" "$SRC/data"
    rm "$SRC/data"
done
expect_fail "$MNT" "$SLUICEFS" umount "$MNT"
