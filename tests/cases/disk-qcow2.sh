#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# qcow2 images show the disk that QEMU sees: every cluster size, compressed, version 2, with chains of
# backing files; and a read-only mount does not touch the image.
#
# limit: 120
# quick: no
. "$(dirname "$0")/functions.sh"

require_command qemu-img qemu-io sfdisk mkfs.ext4
cd "$CASE_DIR"
truncate -s 40M raw
printf 'label: dos\n1 : size=8M\n2 : size=30M,type=5\n5 : size=4M\n6 : size=20M\n' | sfdisk -q raw
mkfs.ext4 -q -L root -d /etc/ssl -E offset=1048576 raw 8M
{ seq 1 400000; head -c 3000000 /dev/urandom; } | dd of=raw bs=1M seek=20 conv=notrunc status=none

# same_disk IMAGE [OPTION...]: through the mount it is the file raw, byte by byte, and after that as it was.
same_disk() {
    local image=$1 before
    shift
    before=$(sha256sum "$image")
    serve "$MNT" disk "$image" "$MNT" -o ro "$@"
    cmp "$MNT/disk" raw || fail "$image differs from what it was made of"
    cmp "$MNT/part6" <(tail -c +$((1 + part6)) raw | head -c $((20 * 1048576))) || fail "part6 of $image"
    expect_fail 'Read-only' dd if=/dev/zero of="$MNT/disk" bs=512 count=1 conv=notrunc status=none
    unmount
    assert_eq "$(sha256sum "$image")" "$before" "$image after the mount"
}
part6=$("$SLUICEFS" disk --list --json raw | python3 -c '
import json, sys
print([p["offset"] for p in json.load(sys.stdin)["partitions"] if p["number"] == 6][0])')

for cluster in 512 4K 64K 2M; do
    qemu-img convert -f raw -O qcow2 -o cluster_size=$cluster raw image
    same_disk image
done
qemu-img convert -c -f raw -O qcow2 raw image
same_disk image
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd raw image
same_disk image -o cache=none
qemu-img convert -f raw -O qcow2 -o compat=0.10 raw image
same_disk image
assert_eq "$("$SLUICEFS" disk --list --json image | sed '/"disk"/d')" \
    "$("$SLUICEFS" disk --list --json raw | sed '/"disk"/d')" 'table of partitions'

# A chain: a raw base, two images on it, holes and zeros over data.
mkdir chain other
cp raw chain/base
qemu-img create -q -f qcow2 -b base -F raw chain/middle
qemu-io -f qcow2 -c 'write -P 0x55 22M 100K' -c 'write -z 24M 3M' -c 'write -P 0x66 39M 1M' chain/middle >/dev/null
qemu-img create -q -f qcow2 -b middle -F qcow2 -o cluster_size=4K chain/top 48M
qemu-io -f qcow2 -c 'write -P 0x77 22M 6K' -c 'write -P 0x78 45M 10000' -c 'discard 1M 64K' chain/top >/dev/null
cp raw original
qemu-img convert -f qcow2 -O raw chain/top raw
same_disk chain/top
# Holes are where the chain has nothing.
serve "$MNT" disk chain/top "$MNT" -o ro
cp --sparse=always "$MNT/disk" copy
cmp copy raw
python "$MNT/disk" <<'PYTHON'
fd = os.open(sys.argv[1], os.O_RDONLY)
offset, data = 0, 0
while True:
    try:
        begin = os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        equal(error.errno, errno.ENXIO)
        break
    assert not any(os.pread(fd, begin - offset, offset)), f"data in a hole at {offset}"
    offset = os.lseek(fd, begin, os.SEEK_HOLE)
    data += offset - begin
assert 0 < data < 30 << 20, data
PYTHON
unmount

# Backing files elsewhere are followed only by order.
mv chain/base other
qemu-img rebase -u -f qcow2 -b "$CASE_DIR/other/base" -F raw chain/middle
expect_fail "not beside it.*backing=any" "$SLUICEFS" disk -f chain/top "$MNT"
same_disk chain/top -o backing=any
ln -s ../other/base chain/link
qemu-img rebase -u -f qcow2 -b link -F raw chain/middle
expect_fail 'backing=any' "$SLUICEFS" disk -f chain/top "$MNT"
qemu-img rebase -u -f qcow2 -b 'json:{"driver":"null-co"}' -F raw chain/middle
expect_fail 'not beside it' "$SLUICEFS" disk -f chain/top "$MNT"
qemu-img rebase -u -f qcow2 -b top -F qcow2 chain/middle
expect_fail 'longer than' "$SLUICEFS" disk -f chain/top "$MNT"

# What is not supported is refused with its reason.
mv original raw
qemu-img convert -f raw -O qcow2 raw image
qemu-img create -q -f qcow2 -o data_file=data external 1M
expect_fail 'in another file' "$SLUICEFS" disk -f external "$MNT"
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=64K extended 1M
expect_fail 'extended L2' "$SLUICEFS" disk -f extended "$MNT"
qemu-img convert -f raw -O vmdk raw vmdk
expect_fail 'VMDK.*not supported' "$SLUICEFS" disk -f vmdk "$MNT"
for length in 4 71 100; do
    head -c $length image >short
    expect_fail 'too short' "$SLUICEFS" disk -f short "$MNT"
done

# A raw image cannot be made another one by those who write to it, unless it is said to be raw.
truncate -s 1M plain
serve "$MNT" disk plain "$MNT"
printf 'QFI\xfb' >magic
expect_fail 'not permitted' dd if=magic of="$MNT/disk" conv=notrunc status=none
dd if=/etc/passwd of="$MNT/disk" conv=notrunc status=none
unmount
serve "$MNT" disk plain "$MNT" -o format=raw
dd if=magic of="$MNT/disk" conv=notrunc status=none
unmount
