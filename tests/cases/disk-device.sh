#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A block device is served like an image, and not written to while the kernel has it mounted; nor does
# the kernel mount it while it is written to.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command mkfs.ext4 e2fsck losetup debugfs
cd "$CASE_DIR"
truncate -s 32M image
mkfs.ext4 -q image
device=$(losetup --find --show image 2>/dev/null) || skip "no loop devices here"
mkdir inner
serve "$MNT" disk "$device" "$MNT"
expect_fail 'busy|already mounted' mount "$device" inner
cmp image "$MNT/disk"
# A file written through our file, by a program that knows the file system.
head -c 100000 /dev/urandom >data
debugfs -w -R 'write data data' "$MNT/disk" 2>/dev/null
sync "$MNT/disk"
unmount

mount "$device" inner
cmp data inner/data
expect_fail 'mounted.*ro reads it' "$SLUICEFS" disk -f "$device" "$MNT"
serve "$MNT" disk "$device" "$MNT" -o ro
cmp "$device" "$MNT/disk"
expect_fail 'Read-only' dd if=/dev/zero of="$MNT/disk" bs=4096 count=1 conv=notrunc
unmount
umount inner
losetup -d "$device"
wait_for 20 is_detached image || fail "the loop device stays"
e2fsck -fn image >e2fsck.log 2>&1 || { cat e2fsck.log; fail "e2fsck"; }
