#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Reading moves access times by the source's rule, and not at all with noatime or on a read-only
# mount; nodiratime is about directories; other words are accepted.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

mkdir "$SRC/dir"
echo data >"$SRC/dir/file"
# moved: which access times of the source reading through $1 moves; relatime moves old ones.
moved() {
    touch -a -d '2001-01-01 UTC' "$SRC/dir" "$SRC/dir/file"
    ls "$1/dir" >/dev/null
    cat "$1/dir/file" >/dev/null
    find "$SRC/dir" -newerat '2002-01-01 UTC' -printf '%f\n' | sort | xargs
}
[ "$(moved "$SRC")" = 'dir file' ] || skip "the source keeps no access times"
while read -r words expected; do
    mount_passthrough -o "$words"
    assert_eq "$(moved "$MNT")" "$expected" "moved with $words"
    unmount
done <<'WORDS'
relatime,strictatime,lazytime,nolazytime,diratime dir file
nodiratime file
noatime
ro
WORDS
