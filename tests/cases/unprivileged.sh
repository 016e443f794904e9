#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A user who is not root (nobody) mounts, uses and unmounts through fusermount3; root unmounts that mount
# too, and waits for its daemon.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command setpriv fusermount3 unshare mkfs.ext4
getent passwd 65534 >/dev/null || skip "no user 65534"
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id"
chmod 755 "$CASE_DIR"
chown 65534:65534 "$SRC" "$MNT"
# udev makes the device usable for everybody; do so where there is none, in a namespace.
cat >"$CASE_DIR/inside" <<'INSIDE'
set -eu
mknod -m 666 fuse c 10 229
mount --bind fuse /dev/fuse
as_user() {
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
as_user "$SLUICEFS" passthrough "$SRC" "$MNT"
as_user sh -c 'echo mine >"$MNT/file"'
test "$(stat -c %u "$SRC/file")" = 65534
if cat "$MNT/file" 2>/dev/null; then
    echo "FAIL: root can use a mount without allow_other"
    exit 1
fi
as_user "$SLUICEFS" umount --timeout=60 "$MNT"
as_user "$SLUICEFS" passthrough "$SRC" "$MNT"
"$SLUICEFS" umount --timeout=60 "$MNT"
as_user "$SLUICEFS" passthrough --run 'test "$(cat "$MNT/file")" = mine' "$SRC" "$MNT"
truncate -s 4M "$SRC/image"
mkfs.ext4 -q -F -O ^has_journal "$SRC/image"
chmod 444 "$SRC/image"
as_user "$SLUICEFS" image "$SRC/image" "$MNT"
as_user sh -c 'ls "$MNT" | grep lost+found && ! ls "$MNT/lost+found" 2>/dev/null'
as_user "$SLUICEFS" umount --timeout=60 "$MNT"
as_user "$SLUICEFS" image "$SRC/image" "$MNT" -o fakeroot
as_user ls "$MNT/lost+found"
as_user "$SLUICEFS" umount --timeout=60 "$MNT"
if grep -q "$MNT" /proc/self/mountinfo; then
    echo "FAIL: still mounted"
    exit 1
fi
as_user "$SLUICEFS" check | grep 'mounts possible  *yes'
INSIDE
export SRC MNT
own_mounts sh "$CASE_DIR/inside"
rm -rf /tmp/sluicefs-65534
