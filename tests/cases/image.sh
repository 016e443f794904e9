#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The files inside of an ext2, ext3 or ext4 image are what the kernel's own mount of it shows: names, types, modes,
# times, attributes, holes and data, whatever features it has; and the image is not touched.
#
# limit: 180
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command mkfs.ext4 mkswap losetup sfdisk qemu-img
cd "$CASE_DIR"
mkdir inner

# same_as_kernel NAME SIZE NAMES MKFS-ARGUMENT...: make it, fill it, compare the two mounts. NAMES: in its largest directory.
same_as_kernel() {
    local name=$1 size=$2 names=$3
    shift 3
    truncate -s "$size" image
    mkfs.ext4 -q -F "$@" image
    in_loop image rw python3 "$TESTS/cases/image-fill.py" inner "$names" || fail "$name cannot be filled"
    same_walk image image "$name"
    rm image
}

same_as_kernel ext2 96M 1000 -t ext2 -b 1024 -I 128
same_as_kernel ext3 96M 1000 -t ext3 -b 4096
same_as_kernel ext4 96M 1000 -b 4096
same_as_kernel ext4-1k 96M 6000 -b 1024
same_as_kernel inline 96M 1000 -b 4096 -O inline_data,ea_inode,metadata_csum_seed
same_as_kernel bigalloc 128M 1000 -b 4096 -O bigalloc -C 16384
same_as_kernel old 96M 2500 -b 2048 -O '^metadata_csum,uninit_bg,^64bit,meta_bg,^resize_inode,^flex_bg,large_dir'

# Blocks that are larger than a page, which the kernel may not know: compared with what it was made of.
mkdir tree
cp -a "$TESTS"/cases "$TESTS"/unit tree
head -c 3000000 /dev/urandom >tree/random
for size in 16384 65536; do
    truncate -s 64M image
    mkfs.ext4 -q -F -b $size -d tree image >/dev/null 2>&1
    serve "$MNT" image image "$MNT"
    diff -r tree "$MNT" -x lost+found || fail "blocks of $size bytes"
    unmount
    rm image
done

# In a partition of a raw and a qcow2 disk, as owned by somebody else; and what is refused.
truncate -s 40M disk
printf 'label: gpt\nsize=4M\nsize=24M, name="files"\n' | sfdisk -q disk
mkfs.ext4 -q -F -E offset=$((5 * 1048576)) -L root -d tree disk 24M >/dev/null 2>&1
qemu-img convert -f raw -O qcow2 disk qcow2
for options in disk:partition=2 disk:offset=5M qcow2:partition=label:root,uid=1234,gid=5678; do
    serve "$MNT" image "${options%%:*}" "$MNT" -o "${options#*:}"
    diff -r tree "$MNT" -x lost+found || fail "$options"
    owner=$(stat -c %u:%g "$MNT/random")
    unmount
done
assert_eq "$owner" 1234:5678
expect_fail 'has partitions: 1 .nothing known., 2 .ext4.; choose one' "$SLUICEFS" image disk "$MNT" -f
expect_fail 'no ext2, ext3 or ext4 file system' "$SLUICEFS" image disk "$MNT" -f -o partition=1
expect_fail "there is no partition '7'" "$SLUICEFS" image disk "$MNT" -f -o partition=7
truncate -s 20M disk
expect_fail 'is it cut off' "$SLUICEFS" image disk "$MNT" -f -o offset=5M
mkswap -q disk
expect_fail 'holds swap; only ext2, ext3 and ext4' "$SLUICEFS" image disk "$MNT" -f
