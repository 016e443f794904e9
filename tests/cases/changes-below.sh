#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Changes made directly in the source are seen through the mount once the attribute timeout has
# passed.
. "$(dirname "$0")/functions.sh"

echo one >"$SRC/file"
mkdir "$SRC/dir"
mount_passthrough
assert_eq "$(cat "$MNT/file")" one
seen() {
    [ "$(cat "$MNT/$1" 2>/dev/null)" = "$2" ]
}
echo longer content >"$SRC/file"
wait_for 10 seen file 'longer content' || fail "the new content is not seen"
echo replaced >"$SRC/.new"
mv "$SRC/.new" "$SRC/file"
wait_for 10 seen file replaced || fail "the replacement is not seen"
mv "$SRC/dir" "$SRC/renamed"
echo below >"$SRC/renamed/x"
wait_for 10 seen renamed/x below || fail "the renamed directory is not seen"
gone() {
    ! test -e "$MNT/$1"
}
rm "$SRC/file"
wait_for 10 gone file || fail "the removed file is still seen"
wait_for 10 gone dir || fail "the old name of the directory is still seen"
assert_eq "$(ls "$MNT")" renamed
unmount
