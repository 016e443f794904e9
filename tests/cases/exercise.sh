#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Random reads, writes, truncations, holes, maps and syncs agree with a model of the file,
# buffered, direct, and in several processes at once.
#
# limit: 120
. "$(dirname "$0")/functions.sh"

mount_passthrough
exercise=$HELPERS/stress/exercise
pids=()
for seed in 1 2 3; do
    "$exercise" --seed=$seed --operations=1500 "$MNT/buffered-$seed" &
    pids+=($!)
    "$exercise" --seed=$seed --operations=700 --direct --no-mmap "$MNT/direct-$seed" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "file and model differ"
done
"$exercise" --seed=4 --operations=300 --size=8388608 "$MNT/large"
for file in "$MNT"/*; do
    cmp "$file" "$SRC/${file##*/}"
done
unmount
