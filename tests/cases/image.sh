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

# detached IMAGE: whether no loop device is left of it.
detached() {
    [ -z "$(losetup -j "$1")" ]
}

# in_loop OPTIONS COMMAND...: run it while the kernel has the image mounted on inner; in a mount namespace of
# its own, so that nobody else's namespace gets a copy of the mount and keeps it.
in_loop() {
    local status=0
    own_mounts bash -c 'mount -o "loop,$1" image inner || exit 77; shift; "$@" && umount inner' - "$@" || status=$?
    wait_for 30 detached image || fail "the loop device stays: $(losetup -j image)"
    [ $status -ne 77 ] || skip "no loop devices here"
    return $status
}

# same_as_kernel NAME SIZE NAMES MKFS-ARGUMENT...: make it, fill it, compare the two mounts. NAMES: in its largest directory.
configurations=('1 ring' '4 ring' '1 denied' '4 threads')
turn=0
same_as_kernel() {
    local name=$1 size=$2 names=$3 before
    shift 3
    truncate -s "$size" image
    mkfs.ext4 -q -F "$@" image
    in_loop rw python3 "$TESTS/cases/image-fill.py" inner "$names" || fail "$name cannot be filled"
    in_loop ro python3 "$TESTS/cases/image-walk.py" inner >kernel || fail "$name cannot be walked"
    before=$(sha256sum image)
    read -r THREADS ENGINE <<<"${configurations[turn++ % 4]}"
    serve "$MNT" image image "$MNT"
    python3 "$TESTS/cases/image-walk.py" "$MNT" >ours
    unmount
    if ! cmp -s kernel ours; then
        diff kernel ours >difference || cut -c 1-300 difference | sed -n 1,20p
        fail "$name differs from the kernel's view"
    fi
    assert_eq "$(sha256sum image)" "$before" "$name after the mount"
    note "$name: $(wc -l <ours) files are the same ($THREADS $ENGINE)"
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
