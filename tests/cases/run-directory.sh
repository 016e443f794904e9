#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What others do in the run-time directory keeps no daemon from starting or ending, and umount waits
# for a daemon whose entry is gone, or was read through its own mount.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
# Who may read the directory may lock it.
mkdir -p /run/sluicefs
exec {held}</run/sluicefs
flock -s $held
timeout $((20 * CASE_SCALE)) "$SLUICEFS" null "$MNT" || fail "a lock keeps it from starting"
timeout $((20 * CASE_SCALE)) "$SLUICEFS" umount "$MNT" || fail "a lock keeps it from ending"
exec {held}<&-

note "read through the mount"
mount_passthrough_at /run/sluicefs "$MNT"
entry=$(mountpoint -d "$MNT")
grep "^pid=${DAEMON[$MNT]}" "$MNT/$entry"
"$SLUICEFS" umount "$MNT" >umount.log 2>&1
! grep 'no daemon' umount.log || fail "not found"
expect_daemon_status 0

note "without an entry"
mount_passthrough
rm "/run/sluicefs/$(mountpoint -d "$MNT")"
pid=${DAEMON[$MNT]}
"$SLUICEFS" umount "$MNT" >umount.log 2>&1
if grep 'no daemon' umount.log; then
    grep -q fuse_connection /proc/*/fdinfo/* 2>/dev/null && fail "the kernel knew it"
    note "this kernel does not tell"
else
    # It has ended, if not been waited for.
    state=$(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) || true
    [ "${state:-Z}" = Z ] || fail "umount did not wait for $pid: $state"
fi
expect_daemon_status 0
