#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One writer or several readers: a second daemon and QEMU are refused with the process named, and the
# other way round; wait= waits; a killed daemon leaves no lock.
#
# limit: 120
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command qemu-img qemu-io
cd "$CASE_DIR"
truncate -s 8M image
mkdir "$CASE_DIR/second"
serve "$MNT" disk image "$MNT"
pid=${DAEMON[$MNT]}
expect_fail "process $pid \(sluicefs\)" "$SLUICEFS" disk -f image "$CASE_DIR/second"
expect_fail "process $pid" "$SLUICEFS" disk --list image
expect_fail "process $pid \(sluicefs\); still so after 0.1 s" "$SLUICEFS" disk -f image "$CASE_DIR/second" -o wait=0.1
expect_fail 'lock' qemu-io -f raw -c 'write 0 512' image

# It is released while somebody waits for it.
"$SLUICEFS" disk image "$CASE_DIR/second" -o wait=60 --pid-file="$CASE_DIR/pid" &
waiter=$!
sleep 0.5
unmount
wait $waiter || fail "the one that waited"
"$SLUICEFS" umount "$CASE_DIR/second"

# Who waits can be told not to.
serve "$MNT" disk image "$MNT"
for form in -f ''; do
    "$SLUICEFS" disk image "$CASE_DIR/second" -o wait=600 $form &
    waiter=$!
    sleep 0.3
    kill -TERM $waiter
    wait_for 20 has_ended $waiter || fail "it waits on ($form)"
    ! wait $waiter || fail "status 0 without a mount ($form)"
done
unmount

# Readers share.
serve "$MNT" disk image "$MNT" -o ro
serve "$CASE_DIR/second" disk image "$CASE_DIR/second" -o ro
qemu-img info -f raw image >/dev/null
expect_fail 'lock' qemu-io -f raw -c 'write 0 512' image
expect_fail 'used by' "$SLUICEFS" disk -f image "$CASE_DIR/second"
unmount "$CASE_DIR/second"
kill -KILL "${DAEMON[$MNT]}"
expect_daemon_status 137
umount "$MNT"

# QEMU has it.
mkfifo hold
qemu-io -f raw image <hold >/dev/null 2>&1 &
qemu=$!
exec 7>hold
echo 'read 0 512' >&7
# Without trying it: that would keep QEMU from getting it.
qemu_has_it() {
    grep -q '^lock:.*OFDLCK.* 100 101' "/proc/$qemu/fdinfo/"*
}
wait_for 20 qemu_has_it || fail "QEMU has no lock"
expect_fail "process $qemu " "$SLUICEFS" disk -f image "$MNT"
exec 7>&-
wait $qemu
serve "$MNT" disk image "$MNT"
unmount
