#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A disk grows when its file is made longer: raw and qcow2 images, whose tables move for it. It never
# shrinks, and partitions stay as they are.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command qemu-img sfdisk
cd "$CASE_DIR"
old=$((6 * 1048576 + 512)) new=$((3 * 1073741824))

# grows IMAGE FORMAT: data at both ends of what was and of what is new.
grows() {
    local image=$1 format=$2
    note "$*"
    serve "$MNT" disk "$image" "$MNT"
    dd if=pattern of="$MNT/disk" bs=1M conv=notrunc status=none iflag=count_bytes count=$old
    truncate -s $new "$MNT/disk"
    assert_eq "$(stat -c %s "$MNT/disk")" $new
    cmp -n $old pattern "$MNT/disk"
    cmp -n $((8 * 1048576)) -i $old:0 "$MNT/disk" /dev/zero
    dd if=pattern of="$MNT/disk" bs=4096 count=16 seek=$(((new - 65536) / 4096)) conv=notrunc,fsync status=none
    dd if=pattern of="$MNT/disk" bs=512 count=16 seek=$((old / 512 + 3)) conv=notrunc,fsync status=none
    expect_fail 'Invalid argument' truncate -s $old "$MNT/disk"
    expect_fail 'Invalid argument' truncate -s $((new - 512)) "$MNT/disk"
    truncate -s $((new * 2)) "$MNT/disk"
    dd if=pattern of="$MNT/disk" bs=4096 count=1 seek=$((new * 2 / 4096 - 1)) conv=notrunc status=none
    unmount
    assert_eq "$(qemu-img info -f "$format" --output=json "$image" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])')" $((new * 2))
    qemu-img check -q -f "$format" "$image" || [ "$format" = raw ]
    truncate -s $old expected
    dd if=pattern of=expected bs=1M conv=notrunc status=none iflag=count_bytes count=$old
    truncate -s $((new * 2)) expected
    dd if=pattern of=expected bs=4096 count=16 seek=$(((new - 65536) / 4096)) conv=notrunc status=none
    dd if=pattern of=expected bs=512 count=16 seek=$((old / 512 + 3)) conv=notrunc status=none
    dd if=pattern of=expected bs=4096 count=1 seek=$((new * 2 / 4096 - 1)) conv=notrunc status=none
    qemu-img compare -q -f "$format" -F raw "$image" expected
    rm -f "$image" expected
}

head -c 7M /dev/urandom >pattern
truncate -s $old image
grows image raw
for options in cluster_size=64K cluster_size=4K cluster_size=64K,compat=0.10; do
    qemu-img create -q -f qcow2 -o $options image $old
    grows image qcow2
done

note "limits"
qemu-img create -q -f qcow2 -o cluster_size=512 image $old
serve "$MNT" disk image "$MNT"
expect_fail 'File too large' truncate -s 1T "$MNT/disk" # the table would be larger than 32 MiB
truncate -s 100M "$MNT/disk"
dd if=pattern of="$MNT/disk" bs=1M count=2 seek=90 conv=notrunc status=none
unmount
qemu-img check -q -f qcow2 image

truncate -s 32M base
qemu-img create -q -f qcow2 -b base -F raw over 16M
serve "$MNT" disk over "$MNT"
expect_fail 'Operation not supported' truncate -s 64M "$MNT/disk" # the base would show through
unmount

printf 'label: gpt\nsize=8M\n' | sfdisk -q base
serve "$MNT" disk base "$MNT"
expect_fail 'Invalid argument' truncate -s 9M "$MNT/part1"
truncate -s 40M "$MNT/disk"
expect_fail 'not supported' fallocate -l 40M "$MNT/disk"
unmount
sfdisk -q --verify base >sfdisk.log 2>&1 || true
serve "$MNT" disk base "$MNT" -o ro
expect_fail 'Read-only' truncate -s 48M "$MNT/disk"
unmount
