#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mountpoint below the source does not make the daemon enter its own mount: it neither hangs
# nor shows itself inside itself.
. "$(dirname "$0")/functions.sh"

mkdir "$SRC/below" "$SRC/other"
echo data >"$SRC/other/file"
echo hidden >"$SRC/below/hidden"
inside=$SRC/below
mount_passthrough_at "$SRC" "$inside"
assert_eq "$(timeout 20 cat "$inside/other/file")" data
# The directory that carries the mount is listed, and refused instead of entered.
assert_eq "$(timeout 20 ls "$inside")" $'below\nother'
expect_fail 'Too many levels' timeout 20 ls "$inside/below"
expect_fail 'Too many levels' timeout 20 touch "$inside/below/new"
expect_fail 'Too many levels' timeout 20 stat -f "$inside/below"
expect_fail "other/file" timeout 20 find "$inside" -type f
timeout 20 sync -f "$inside/other"
unmount "$inside"
assert_eq "$(ls "$inside")" hidden

# The whole of the source is the mountpoint itself.
mount_passthrough_at "$SRC" "$SRC"
assert_eq "$(timeout 20 cat "$SRC/other/file")" data
timeout 20 sh -c "echo over >'$SRC/other/over'"
timeout 20 ls -lR "$SRC" >/dev/null
unmount "$SRC"
assert_eq "$(cat "$SRC/other/over")" over
