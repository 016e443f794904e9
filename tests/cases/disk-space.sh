#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Files of a disk tell how much of them is allocated, so that cp without options leaves holes out and du shrinks
# when something is punched: for the whole disk and for its partitions, raw and qcow2.
#
# limit: 120
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command sfdisk qemu-img
cd "$CASE_DIR"
allocated() { echo $(($(stat -c %b "$1") * 512)); }
# in_range FILE LOW HIGH: so many bytes are allocated, within a second or so.
in_range() {
    local bytes
    bytes=$(allocated "$1")
    [ "$bytes" -ge "$2" ] && [ "$bytes" -le "$3" ]
}
expect_range() { wait_for 20 in_range "$@" || fail "$1: $(allocated "$1") bytes, expected $2 to $3"; }
M=1048576

truncate -s 200M raw
printf 'label: gpt\nsize=64M\nsize=32M\nsize=64M\n' | sfdisk -q raw
head -c $((8 * M)) /dev/urandom | dd of=raw bs=1M seek=5 conv=notrunc status=none iflag=fullblock
# The third has more ranges than are looked at.
python raw <<'PYTHON'
fd = os.open(sys.argv[1], os.O_RDWR)
for part in range(128):
    os.pwrite(fd, b"x" * 65536, (97 << 20) + part * (1 << 19))
PYTHON
in_range raw $((16 * M)) $((24 * M)) || skip "this file system stores holes"
qemu-img convert -f raw -O qcow2 raw qcow2

for format in raw qcow2; do
    note $format
    serve "$MNT" disk $format "$MNT" -o format=$format
    expect_range "$MNT/disk" $((16 * M)) $((28 * M))
    expect_range "$MNT/part1" $((8 * M)) $((9 * M))
    expect_range "$MNT/part2" 512 4096
    expect_range "$MNT/part3" $((4 * M)) $((16 * M))
    for name in disk part1 part2 part3; do
        rm -f copy
        cp "$MNT/$name" copy
        cmp "$MNT/$name" copy
        in_range copy 0 $((40 * M)) || fail "the copy of $name has $(allocated copy) bytes"
    done

    # A little anywhere is not nothing; what is punched is seen, through all that hold it.
    printf x | dd of="$MNT/part2" bs=1 seek=$((31 * M)) conv=notrunc status=none
    expect_range "$MNT/part2" 512 $((2 * M))
    fallocate --punch-hole --offset=$((5 * M)) --length=$((4 * M)) "$MNT/part1"
    expect_range "$MNT/part1" $((4 * M)) $((5 * M))
    expect_range "$MNT/disk" $((12 * M)) $((24 * M))
    # A full one is full, and no more than that.
    head -c $((32 * M)) /dev/urandom >"$MNT/part2"
    expect_range "$MNT/part2" $((32 * M)) $((32 * M))
    unmount

    serve "$MNT" disk $format "$MNT" -o format=$format,partition=1
    expect_range "$MNT/part1" $((4 * M)) $((5 * M))
    cp "$MNT/part1" copy
    in_range copy 0 $((16 * M)) || fail "the copy of part1 alone has $(allocated copy) bytes"
    unmount
done
