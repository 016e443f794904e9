#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs null takes and gives bytes without a store and ends like any mount.
. "$(dirname "$0")/functions.sh"

serve "$MNT" null "$MNT"
find "$MNT" >"$CASE_DIR/names"
cat "$CASE_DIR/names"
ls -l "$MNT"
file=$(find "$MNT" -type f | head -n 1)
if [ -n "$file" ]; then
    dd if=/dev/zero of="$file" bs=64k count=50 conv=notrunc,fsync
    dd if="$file" of=/dev/null bs=64k count=50
    assert_eq "$(head -c 1000 "$file" | wc -c)" 1000 'bytes read'
fi
unmount
