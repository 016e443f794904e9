#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# kill -9 of clients under load, while they wait in every kind of call, leaves the daemon serving
# and nothing in flight.
#
# limit: 90
# quick: no
. "$(dirname "$0")/functions.sh"

mount_passthrough
connection=$(connection_of)
for round in 1 2 3 4 5; do
    pids=()
    "$HELPERS/stress/churn" --seconds=60 --threads=8 "$MNT" >/dev/null 2>&1 &
    pids+=($!)
    dd if=/dev/zero of="$MNT/zeros-$round" bs=1M count=10000 oflag=direct 2>/dev/null &
    pids+=($!)
    sh -c "while :; do ls -lR '$MNT' >/dev/null 2>&1; done" &
    pids+=($!)
    fio --name=load --directory="$MNT" --size=4m --rw=randrw --ioengine=io_uring --iodepth=32 \
        --numjobs=4 --thread --time_based --runtime=60 --fallocate=none >/dev/null 2>&1 &
    pids+=($!)
    sleep 1
    for pid in "${pids[@]}"; do
        kill -KILL "$pid"
    done
    for pid in "${pids[@]}"; do
        wait_for 15 has_ended "$pid" || fail "process $pid does not die"
    done
    rm -f "$MNT/zeros-$round" # dd may not have come to make it
done
nothing_waiting() {
    [ "$(cat "/sys/fs/fuse/connections/$connection/waiting")" = 0 ]
}
wait_for 15 nothing_waiting || fail "requests stay in flight"
"$HELPERS/stress/churn" --seconds=1 "$MNT"
timeout $((20 * CASE_SCALE)) rm -r "${MNT:?}"/*
unmount
