#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The form without a command, sluicefs SRC MNT -o LIST, as mount(8)'s helpers call it: names in
# the mount table, source:, source=, remount.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
# shown: type and source of the mount as the mount table shows them.
shown() {
    findmnt -n -o FSTYPE,SOURCE "$MNT" | tr -s ' '
}
require_command findmnt
echo served >"$SRC/file"

"$SLUICEFS" "$SRC" "$MNT" -o ro,nosuid,_netdev,x-test=1,threads=2
assert_eq "$(shown)" "fuse.sluicefs $SRC"
expect_fail 'Read-only' touch "$MNT/new"
"$SLUICEFS" "$SRC" "$MNT" -o remount,rw
touch "$MNT/new"
"$SLUICEFS" "$SRC" "$MNT" -o remount,noexec
findmnt -n -o OPTIONS "$MNT" | grep -q 'rw,nosuid,nodev,noexec' || fail "remount lost words"
"$SLUICEFS" "$SRC" "$MNT" -o remount,nosymfollow,noatime
"$SLUICEFS" "$SRC" "$MNT" -o remount,atime
findmnt -n -o OPTIONS "$MNT" | grep -q 'rw,nosuid,nodev,noexec,relatime,nosymfollow' ||
    fail "remount: $(findmnt -n -o OPTIONS "$MNT")"
said=$("$SLUICEFS" "$SRC" "$MNT" 2>&1 >/dev/null)
assert_eq "$said" "sluicefs: '$MNT' is already a mount of sluicefs, which is covered now"
"$SLUICEFS" umount "$MNT" --timeout=10
"$SLUICEFS" umount "$MNT" --timeout=10

"$SLUICEFS" "source:$SRC" "$MNT" -o subtype=
assert_eq "$(shown)" "fuse source:$SRC"
umount "source:$SRC"
wait_for 20 eval '! pgrep -f "source:$SRC" >/dev/null' || fail "the daemon does not end"

"$SLUICEFS" label "$MNT" -o "source=$SRC"
assert_eq "$(shown)" "fuse.sluicefs label"
assert_eq "$(cat "$MNT/file")" served
"$SLUICEFS" umount "$MNT" --timeout=10

"$SLUICEFS" "$SRC" "$MNT" -o 'fsname=a b\,c'
assert_eq "$(findmnt -n -o SOURCE "$MNT")" 'a b,c'
"$SLUICEFS" umount "$MNT" --timeout=10

(cd "$CASE_DIR" && "$SLUICEFS" src mnt)
assert_eq "$(cat "$MNT/file")" served
"$SLUICEFS" umount "$MNT" --timeout=10

expect_fail "did you mean 'umount'" "$SLUICEFS" umuont "$MNT"
expect_fail "did you mean 'threads'" "$SLUICEFS" "$SRC" "$MNT" -o thread=2
expect_fail "unknown command 'none', and no such file or directory" "$SLUICEFS" none "$MNT"
expect_fail 'not a mount point' "$SLUICEFS" "$SRC" "$MNT" -o remount,ro
