#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Reading moves access times by the source's rule, and not at all with noatime or on a read-only
# mount; nodiratime is about directories; strictatime has a rule of its own; other words are accepted.
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
strictatime,relatime,lazytime,nolazytime,diratime dir file
nodiratime file
noatime
ro
WORDS

# moved_again: which access times reading through $1 moves that are newer than all else of the files:
# relatime leaves those alone.
moved_again() {
    touch -a -d '2037-01-01 UTC' "$SRC"/{dir,below}{,/file}
    cat "$1"/{dir,below}/file >/dev/null
    ls "$1"/{dir,below} >/dev/null
    (cd "$SRC" && find dir below ! -newerat '2036-12-31 UTC' | sort | xargs)
}
[ "$(id -u)" -eq 0 ] || exit 0
mkdir "$SRC/below"
mount -t tmpfs -o size=1m,relatime none "$SRC/below"
trap 'umount -l "$SRC/below" 2>/dev/null || true' EXIT
echo data >"$SRC/below/file"
for words in strictatime strictatime,cache=always,inode-handles=always; do
    mount_passthrough -o "$words"
    for time in first second third; do
        assert_eq "$(moved_again "$MNT")" 'below below/file dir dir/file' "moved the $time time with $words"
    done
    unmount
done
mount_passthrough -o strictatime,xdev=deny
expect_fail 'Invalid cross-device link' ls "$MNT/below"
unmount
umount "$SRC/below"
echo data >"$SRC/below/file"
while read -r words expected; do
    mount_passthrough -o "$words"
    assert_eq "$(moved_again "$MNT")" "$expected" "moved with $words"
    unmount
done <<'WORDS'
strictatime,xdev=deny,cache=always below below/file dir dir/file
strictatime,noatime
ro,strictatime
WORDS
mount_passthrough -o strictatime,relatime
assert_eq "$(moved_again "$MNT")" "$(moved_again "$SRC")" "moved as on the source"
unmount
