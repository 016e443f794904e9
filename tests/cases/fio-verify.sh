#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fio writes and verifies checksums through the mount: three client engines, buffered and direct,
# 1 to 64 jobs.
#
# limit: 240
# quick: no
. "$(dirname "$0")/functions.sh"

require_command fio
mount_passthrough
for engine in psync libaio io_uring; do
    for direct in 0 1; do
        for jobs in 1 8 64; do
            note "$engine direct=$direct jobs=$jobs"
            mkdir "$MNT/fio"
            fio --name=verify --directory="$MNT/fio" --rw=randrw --rwmixread=30 --bsrange=4k-128k \
                --blockalign=4k --size=$((jobs > 8 ? 512 : 4096))k --numjobs=$jobs --thread \
                --ioengine=$engine --iodepth=16 --direct=$direct --verify=crc32c --verify_fatal=1 \
                --do_verify=1 --fsync=64 --group_reporting --output="$CASE_DIR/fio.log" ||
                { tail -n 30 "$CASE_DIR/fio.log"; fail "$engine direct=$direct jobs=$jobs"; }
            rm -r "$MNT/fio"
        done
    done
done
unmount
