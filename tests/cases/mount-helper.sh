#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount -t fuse.sluicefs works with the words that mount(8) passes, for a directory and for a disk, and
# umount ends it.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command unshare
# mount(8) looks for its helpers in /sbin: give it one in a mount namespace of our own.
cat >"$CASE_DIR/inside" <<'INSIDE'
set -eu
mount --make-rprivate /
mkdir upper work
mount -t overlay -o "lowerdir=$(readlink -f /sbin),upperdir=upper,workdir=work" none "$(readlink -f /sbin)"
ln -s "$SLUICEFS" /sbin/mount.fuse.sluicefs
check() {
    echo "options: ${1:-none}"
    mount -t fuse.sluicefs ${1:+-o "$1"} "$SRC" "$MNT"
    findmnt -n -o FSTYPE,SOURCE,OPTIONS "$MNT"
    test "$(findmnt -n -o FSTYPE "$MNT")" = fuse.sluicefs
    test "$(cat "$MNT/file")" = hello
}
echo hello >"$SRC/file"
check ''
umount "$MNT"
check rw,nosuid,nodev,noatime
findmnt -n -o OPTIONS "$MNT" | grep -q nosuid
umount "$MNT"
check ro
if touch "$MNT/x" 2>/dev/null; then
    echo "FAIL: written in spite of ro"
    exit 1
fi
umount "$MNT"
check defaults,_netdev,threads=2
mount -o remount,ro "$MNT"
if touch "$MNT/x" 2>/dev/null; then
    echo "FAIL: written in spite of remount,ro"
    exit 1
fi
mount -o remount,rw "$MNT"
touch "$MNT/x"
umount "$MNT"
truncate -s 1M image
mount -t fuse.sluicefs -o cache=none,size=64K "$PWD/image" "$MNT"
test "$(stat -c %s "$MNT/disk")" = 65536
umount "$MNT"
if mount -t fuse.sluicefs -o no_such_word "$SRC" "$MNT"; then
    echo "FAIL: an unknown word was accepted"
    exit 1
fi
INSIDE
export SRC MNT
unshare -m --propagation private sh "$CASE_DIR/inside"
