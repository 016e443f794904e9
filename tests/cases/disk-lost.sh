#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the store of a raw disk refuses is an error of the write, of fsync, or at the latest of sluicefs umount, which
# fails then; after an umount without an error everything is there.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command losetup
cd "$CASE_DIR"
mkdir small
mount -t tmpfs -o size=8M none small
fill() { ! dd if=/dev/zero of=small/filling bs=4096 status=none 2>/dev/null || fail "it was not full"; }
start() { "$SLUICEFS" disk "$1" "$MNT" -o format=raw --log="$CASE_DIR/background.log"; }
head -c 3M /dev/urandom >data

note "a sparse file on a full file system: an error of the write"
truncate -s 64M small/image
start small/image
dd if=data of="$MNT/disk" bs=64K count=16 conv=notrunc status=none
fill
! dd if=data of="$MNT/disk" bs=64K seek=512 conv=notrunc status=none 2>/dev/null || fail "written to a full file system"
"$SLUICEFS" umount "$MNT"
cmp -n $((16 * 65536)) data small/image

# The page cache takes what the device below has no room for.
rm small/*
truncate -s 64M small/device
losetup -f >/dev/null 2>&1 || skip "no loop devices here"
device=$(losetup -f --show small/device)
trap 'losetup -d "$device"' EXIT
for moment in fsync umount; do
    note "a device that is full: an error of $moment"
    start "$device"
    fill
    dd if=data of="$MNT/disk" bs=64K seek=512 conv=notrunc status=none
    if [ $moment = fsync ]; then
        ! sync "$MNT/disk" 2>/dev/null || fail "nothing can be written, and fsync says it was"
        "$SLUICEFS" umount "$MNT" # it has been told
    else
        expect_fail "is unmounted, but the daemon could not write everything: .*$device.*what was written last is lost" \
            "$SLUICEFS" umount "$MNT"
        ! is_mounted || fail "still mounted"
        grep "cannot write '$device'.*what was written last is lost" background.log
    fi
    rm small/filling
done
note "room again"
start "$device"
dd if=data of="$MNT/disk" bs=64K seek=512 conv=notrunc status=none
"$SLUICEFS" umount "$MNT"
cmp -n $((48 * 65536)) -i 0:$((512 * 65536)) data "$device"
losetup -d "$device"
trap - EXIT
wait_for 20 is_detached small/device || fail "the loop device stays"
wait_for 20 umount small || fail "the file of the loop device stays open"
