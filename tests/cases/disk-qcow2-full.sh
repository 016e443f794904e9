#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The disk below a qcow2 image is full when its tables are to be written: fsync fails, and goes on
# failing once there is room again; a daemon that could not write at its end says so and exits
# with 32, and so does sluicefs umount. Neither breaks the image.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command qemu-img
cd "$CASE_DIR"
mkdir small
mount -t tmpfs -o size=4M none small
fill() { ! dd if=/dev/zero of=small/filling bs=4096 status=none 2>/dev/null || fail "it was not full"; }

for moment in fsync umount; do
    note "$moment"
    rm -f small/*
    qemu-img create -q -f qcow2 -o cluster_size=64K small/image 64M
    serve "$MNT" disk small/image "$MNT"
    for part in 0 20 40; do
        dd if=/dev/urandom of="$MNT/disk" bs=64K count=2 seek=$((part * 16)) conv=notrunc status=none
    done
    fill
    if [ $moment = fsync ]; then
        ! sync "$MNT/disk" 2>/dev/null || fail "nothing can be written, and fsync says it was"
        rm small/filling
        ! sync "$MNT/disk" 2>/dev/null || fail "a second fsync hides what is lost"
        ! dd if=/dev/zero of="$MNT/disk" bs=64K count=1 seek=900 conv=notrunc,fsync status=none 2>/dev/null ||
            fail "what was written after a loss"
    fi
    expect_fail "is unmounted, but the daemon could not write everything: .*small/image.*what was written last is lost" \
        "$SLUICEFS" umount "$MNT"
    ! is_mounted || fail "still mounted"
    expect_daemon_status 32
    grep 'what was written last is lost' "$DAEMON_LOG" || fail "no word of it in the log"
    : >"$DAEMON_LOG"
    rm -f small/filling
    qemu-img check -f qcow2 small/image || [ $? = 3 ] || fail "the image is broken" # 3: leaks
    serve "$MNT" disk small/image "$MNT"
    dd if=/dev/zero of="$MNT/disk" bs=64K count=1 conv=notrunc,fsync status=none
    unmount
done
umount small
