#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Files are copied onto a partition as onto any file: what the source has as holes reads as zeros,
# whatever was there before, and the image gets the space back.
#
# limit: 120
# quick: no
. "$(dirname "$0")/functions.sh"

require_command sfdisk mkfs.ext4 qemu-img
cd "$CASE_DIR"
truncate -s 8M root.ext4
mkfs.ext4 -q root.ext4
printf x | dd of=root.ext4 bs=1 seek=$((8 * 1048576 - 1)) conv=notrunc status=none
truncate -s 4M hole
size=$((10 * 1048576))

# expect SOURCE FILE: its bytes, and zeros up to the end.
expect() {
    assert_eq "$(stat -c %s "$2")" $size
    cmp -n "$(stat -c %s "$1")" "$1" "$2"
    cmp -n $((size - $(stat -c %s "$1"))) -i "$(stat -c %s "$1"):0" "$2" /dev/zero
}

for format in raw qcow2; do
    for options in '' partition=1,rw; do
        note "$format $options"
        truncate -s 32M raw
        printf 'label: gpt\nsize=10M\nsize=10M\n' | sfdisk -q raw
        head -c 22M /dev/urandom | dd of=raw bs=1M seek=1 conv=notrunc status=none iflag=fullblock
        qemu-img convert -f raw -O $format raw image
        qemu-img convert -f $format -O raw -S 0 image before
        serve "$MNT" disk image "$MNT" ${options:+-o "$options"} -o format=$format
        for copy in 'cp root.ext4' 'cp --sparse=always root.ext4' 'cp --sparse=never root.ext4' 'cp hole' 'cp --sparse=always hole'; do
            head -c $size /dev/urandom | dd of="$MNT/part1" bs=1M conv=notrunc status=none iflag=fullblock
            cat "$MNT/part1" >/dev/null # in the kernel's cache, where there is one
            $copy "$MNT/part1"
            expect "${copy##* }" "$MNT/part1"
        done
        dd if=/dev/urandom of="$MNT/part1" bs=64K count=1 conv=notrunc status=none
        expect_fail 'Invalid argument' truncate -s 4K "$MNT/part1"
        expect_fail 'Invalid argument' truncate -s 11M "$MNT/part1"
        unmount
        qemu-img convert -f $format -O raw -S 0 image after
        [ $format = raw ] || qemu-img check -q -f qcow2 image
        cmp -n $((12 * 1048576)) -i $((11 * 1048576 + 1048576)) before after || fail "the next partition"
        rm -f raw image before after
    done
done
