#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# -o ro refuses every change and still reads.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

echo data >"$SRC/file"
mount_passthrough -o ro
assert_eq "$(cat "$MNT/file")" data
for command in "touch '$MNT/new'" "rm '$MNT/file'" "mkdir '$MNT/dir'" "mv '$MNT/file' '$MNT/x'" \
    "ln '$MNT/file' '$MNT/x'" "echo x >>'$MNT/file'" "chmod 600 '$MNT/file'" "truncate -s 0 '$MNT/file'"; do
    expect_fail 'Read-only' sh -c "$command"
done
unmount
assert_eq "$(cat "$SRC/file")" data
