#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is written to a qcow2 image through the mount is what QEMU finds in it, and QEMU finds
# nothing wrong with the image: every cluster size and refcount width, over compressed clusters and
# backing files, by several writers at once.
#
# limit: 150
# quick: no
. "$(dirname "$0")/functions.sh"

require_command qemu-img qemu-io fio
cd "$CASE_DIR"
size=$((24 * 1048576))

# rounds IMAGE SEED [OPTION...]: change it through the mount; QEMU agrees with the model.
rounds() {
    local image=$1 seed=$2 round
    shift 2
    qemu-img convert -f qcow2 -O raw "$image" model
    for round in 1 2; do
        serve "$MNT" disk "$image" "$MNT" "$@"
        python3 "$TESTS/cases/disk-change.py" "$MNT/disk" model $size $((seed + round)) 120
        unmount
        qemu-img check -q -f qcow2 "$image" || { qemu-img check -f qcow2 "$image" | tail; fail "check of $image"; }
        qemu-img compare -q -f qcow2 -F raw "$image" model || fail "$image is not as the model"
    done
}

for options in cluster_size=512 cluster_size=2M compat=0.10 cluster_size=4K,refcount_bits=1 \
    cluster_size=4K,refcount_bits=64; do
    note "$options"
    qemu-img create -q -f qcow2 -o $options image $size
    rounds image 10 -o l2-cache=8K # far less than all tables
done
expect_fail 'l2-cache=much is not a size' "$SLUICEFS" disk -f image "$MNT" -o l2-cache=much
# By hand: other cluster sizes, both versions, over compressed clusters and a backing file.
for cluster in ${CLUSTER_SIZES-}; do
    { seq 1 900000; head -c 3000000 /dev/urandom; } | head -c $size >data
    truncate -s $size data
    for options in compat=0.10 compat=1.1,lazy_refcounts=on; do
        note "$cluster, $options"
        qemu-img create -q -f qcow2 -o "cluster_size=$cluster,$options" image $size
        rounds image 50
        qemu-img convert -c -f raw -O qcow2 -o "cluster_size=$cluster,$options" data image
        rounds image 60 -o cache=none
        qemu-img create -q -f qcow2 -b data -F raw -o "cluster_size=$cluster,$options" image
        rounds image 70 -o l2-cache=8K
    done
    note "$cluster, Zstandard, patterns that qemu-io finds"
    qemu-img convert -c -f raw -O qcow2 -o "cluster_size=$cluster,compression_type=zstd" data image
    rounds image 80
    serve "$MNT" disk image "$MNT"
    for pattern in 1 2 3; do
        head -c 300000 /dev/zero | tr '\0' "\\$pattern" |
            dd of="$MNT/disk" bs=100000 seek=$((pattern * 50)) conv=notrunc status=none iflag=fullblock
    done
    unmount
    for pattern in 1 2 3; do
        qemu-io -f qcow2 -c "read -P $pattern $((pattern * 5000000)) 300000" image >qemu-io.log
        ! grep -q 'verification failed' qemu-io.log || { cat qemu-io.log; fail "pattern $pattern"; }
    done
done
{ seq 1 900000; head -c 3000000 /dev/urandom; } | head -c $size >data
truncate -s $size data
note "compressed"
qemu-img convert -c -f raw -O qcow2 data image
rounds image 20 -o cache=none
note "backing file"
before=$(sha256sum data)
qemu-img create -q -f qcow2 -b data -F raw -o cluster_size=16K image
rounds image 30
assert_eq "$(sha256sum data)" "$before" 'the backing file'
qemu-img create -q -f qcow2 -b data -F raw -o compat=0.10 image $((size + 5000000))
truncate -s $size data
rounds image 40

note "fio"
qemu-img create -q -f qcow2 image $size
serve "$MNT" disk image "$MNT"
fio --name=verify --filename="$MNT/disk" --rw=randwrite --bs=4k-64k --size=16M --iodepth=16 --ioengine=libaio \
    --direct=1 --verify=crc32c --verify_fatal=1 --output=fio.log || { cat fio.log; fail "fio"; }
unmount
qemu-img check -q -f qcow2 image

# A bitmap that QEMU keeps in the image tells what has changed: after a write that it did not see,
# also one in place, it must not count as valid. A look does not harm it.
note "bitmap"
qemu-img create -q -f qcow2 marked $size
qemu-io -f qcow2 -c 'write -q 0 1M' marked
qemu-img bitmap --add marked changes
bitmaps_valid() { [ "$(od -An -tu1 -j95 -N1 marked | tr -d ' ')" = 1 ]; }
bitmaps_valid || fail "the bitmap does not count as valid to begin with"
serve "$MNT" disk marked "$MNT"
dd if="$MNT/disk" of=/dev/null bs=64K count=1 status=none
unmount
bitmaps_valid || fail "a read made the bitmap invalid"
serve "$MNT" disk marked "$MNT"
dd if=data of="$MNT/disk" bs=4096 count=1 seek=16 conv=notrunc,fsync status=none
unmount
! bitmaps_valid || fail "the bitmap counts as valid after a write in place"

# What may not be written is served read-only, and with rw an error.
qemu-img snapshot -c one image
expect_fail 'internal snapshots' "$SLUICEFS" disk -f image "$MNT" -o rw
serve "$MNT" disk image "$MNT"
expect_fail 'Read-only' dd if=data of="$MNT/disk" bs=512 count=1 conv=notrunc status=none
unmount

note "other reasons"
qemu-img create -q -f qcow2 other 1M
byte_of_features() { printf %b "\\x$1" | dd of=other bs=1 seek="$2" conv=notrunc status=none; }
byte_of_features 02 79 # corrupt
expect_fail 'marked as corrupt' "$SLUICEFS" disk -f other "$MNT" -o rw
serve "$MNT" disk other "$MNT"
expect_fail 'Read-only' dd if=data of="$MNT/disk" bs=512 count=1 conv=notrunc status=none
unmount
byte_of_features 40 79
expect_fail 'unknown incompatible features .0x40' "$SLUICEFS" disk -f other "$MNT"
qemu-img create -q -f qcow2 --object secret,id=key,data=1 -o encrypt.format=aes,encrypt.key-secret=key other 1M
expect_fail 'is encrypted' "$SLUICEFS" disk -f other "$MNT"
