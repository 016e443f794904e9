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
# The directory that carries the mount is seen as the store has it, not as the mount again.
timeout 20 find "$inside" -printf '%P\n' | sort >"$CASE_DIR/names"
diff "$CASE_DIR/names" - <<'NAMES'

below
below/hidden
other
other/file
NAMES
timeout 20 stat -f "$inside/below" >/dev/null
timeout 20 sh -c "echo more >'$inside/below/new'"
timeout 20 rm "$inside/below/hidden"
timeout 20 mkdir "$inside/below/dir"
timeout 20 sync -f "$inside"
unmount "$inside"
assert_eq "$(ls "$inside")" $'dir\nnew'

# The whole of the source is the mountpoint itself.
mount_passthrough_at "$SRC" "$SRC"
assert_eq "$(timeout 20 cat "$SRC/other/file")" data
timeout 20 sh -c "echo over >'$SRC/other/over'"
timeout 20 ls -lR "$SRC" >/dev/null
unmount "$SRC"
assert_eq "$(cat "$SRC/other/over")" over
