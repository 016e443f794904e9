#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# On the hot path a worker makes one io_uring_enter per batch and no other system call per I/O
# but the read of the device; no wake-up is written while it is awake.
#
# limit: 90
# alone: yes
. "$(dirname "$0")/functions.sh"

require_command strace fio
[ "$ENGINE" = ring ] || skip "about the ring only"
mount_passthrough --poll-max-us=0
fio --name=fill --filename="$MNT/data" --rw=write --bs=1m --size=64m --end_fsync=1 >/dev/null
# O_DIRECT: nothing is in memory, so that every read goes to the ring.
trace=$CASE_DIR/trace
strace -f -qq -c -S calls -o "$trace" -p "${DAEMON[$MNT]}" &
tracer=$!
sleep 1
reads=8000
fio --name=read --filename="$MNT/data" --rw=randread --bs=4k --direct=1 --ioengine=libaio --iodepth=32 \
    --number_ios=$reads --size=64m >"$CASE_DIR/fio.log"
kill -INT $tracer
wait $tracer || true
cat "$trace"
calls() {
    awk -v name="$1" '$NF == name { n = $4 } END { print n + 0 }' "$trace"
}
device_reads=$(calls read)
enters=$(calls io_uring_enter)
other=$(awk -v skip='^(read|io_uring_enter|total|syscall|[-]+)$' \
    '$NF !~ skip && $4 ~ /^[0-9]+$/ { n += $4 } END { print n + 0 }' "$trace")
note "$reads reads: $enters io_uring_enter, $device_reads read, $other others"
[ "$enters" -gt 0 ] || fail "the ring was not used"
[ "$enters" -lt $((2 * reads)) ] || fail "$enters io_uring_enter for $reads reads at depth 32: as if each came alone"
[ "$device_reads" -lt $((reads * 2 + 1000)) ] || fail "too many reads of the device"
# What is left is opening the file, fio's own metadata and the housekeeping of threads.
[ "$other" -lt $((reads / 20)) ] || fail "$other other system calls for $reads reads"
unmount
