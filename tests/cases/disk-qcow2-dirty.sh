#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# An image that QEMU has left dirty (lazy refcounts, killed) is put in order when it is opened for
# writing: QEMU finds nothing wrong or lost in it and the disk is the same, also if the repair is killed;
# an image that cannot be repaired is not touched.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command qemu-img qemu-io qemu-nbd strace
cd "$CASE_DIR"
ulimit -c 0 # qemu-io is to abort
size=$((24 * 1048576))

is_dirty() {
    qemu-img info -f qcow2 --output=json "$1" | grep -q '"dirty-flag": true'
}

# crash IMAGE COMMAND...: qemu-io does it and ends without writing refcounts.
crash() {
    local image=$1 command commands=()
    shift
    for command; do
        commands+=(-c "$command")
    done
    qemu-io -f qcow2 "${commands[@]}" -c flush -c abort "$image" >qemu-io.log 2>&1 && fail "qemu-io did not abort"
    is_dirty "$image" || { cat qemu-io.log; fail "$image is not dirty"; }
}

# repaired IMAGE: open and close it for writing; what must be true after that.
repaired() {
    local image=$1
    rm -f before
    qemu-img convert -f qcow2 -O raw "$image" before
    : >"$DAEMON_LOG"
    serve "$MNT" disk "$image" "$MNT" -o rw
    cmp before "$MNT/disk"
    unmount
    grep -q 'refcounts were rebuilt' "$DAEMON_LOG" || fail "no word about the repair of $image"
    ! is_dirty "$image" || fail "$image is still dirty"
    qemu-img check -f qcow2 "$image" >check.log || { cat check.log; fail "qemu-img check of $image"; }
    qemu-img compare -q -f qcow2 -F raw "$image" before || fail "$image has changed"
    # It is an image like any other now.
    serve "$MNT" disk "$image" "$MNT" -o rw
    dd if=/dev/urandom of="$MNT/disk" bs=64K count=20 seek=100 conv=notrunc,fsync status=none
    unmount
    qemu-img check -q -f qcow2 "$image" || fail "qemu-img check of $image, after writing"
}

for options in cluster_size=512 cluster_size=4K,refcount_bits=1 cluster_size=64K,refcount_bits=64 cluster_size=2M; do
    note "$options"
    rm -f image
    qemu-img create -q -f qcow2 -o lazy_refcounts=on,$options image $size
    crash image 'write -q -P 1 0 300k' 'write -q -P 2 5M 1M' 'write -q -z 5100k 200k' 'discard -q 64k 128k' 'write -q -P 3 23M 64k'
    repaired image
done
note "again"
crash image 'write -q -P 4 10M 3M' 'discard -q 5M 1M'
repaired image

note "compressed clusters, which share clusters of the file"
seq 1 700000 >text
truncate -s $size text
qemu-img convert -c -f raw -O qcow2 -o lazy_refcounts=on,compression_type=zstd text image
crash image 'write -q -P 5 1M 100k' 'write -q -P 6 20M 1M'
repaired image

note "a backing file"
qemu-img convert -f raw -O qcow2 text below
qemu-img create -q -f qcow2 -b below -F qcow2 -o lazy_refcounts=on image
crash image 'write -q -P 7 3M 10k' 'write -q -P 8 9M 10k'
repaired image

note "a server that is killed while it is written to"
cat >client.py <<'PYTHON'
# Writes until that fails; makes a file when there is something to kill.
generator, fd = random.Random(1), os.open(sys.argv[1], os.O_RDWR)
try:
    for number in range(100000):
        os.pwrite(fd, generator.randbytes(8192), generator.randrange(6000) * 4096)
        if number % 50 == 49:
            os.fsync(fd)
        if number == 150:
            open("busy", "w").close()
except OSError as error:
    equal(error.errno, errno.EIO, "the error")
PYTHON
for cluster_size in 4K 64K; do
    rm -f image busy
    qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=$cluster_size image $size
    qemu-nbd --persistent --fork --pid-file="$CASE_DIR/server.pid" --socket=/proc/self/cwd/socket --format=qcow2 image
    server=$(cat server.pid)
    serve "$MNT" disk 'nbd+unix:///?socket=socket' "$MNT"
    python "$MNT/disk" <client.py &
    client=$!
    wait_for 60 test -e busy || fail "the client does not write"
    kill -KILL "$server"
    wait $client || fail "the client"
    lost=0
    "$SLUICEFS" umount "$MNT" --timeout=$((20 * CASE_SCALE)) || lost=$?
    [[ $lost =~ ^(0|32)$ ]] || fail "umount ended with status $lost"
    expect_daemon_status $lost
    rm -f socket server.pid
    is_dirty image || fail "the server left the image clean"
    repaired image
done

note "killed while it repairs, at each of its writes"
rm -f image
qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4K image $size
crash image 'write -q -P 1 0 300k' 'write -q -P 2 5M 1M'
cp image dirty
for number in 1 2 3 4; do # block, table, header: its place, header: not dirty
    cp dirty image
    status=0
    timeout -k 1 $((30 * CASE_SCALE)) strace -o /dev/null -e trace=pwritev -e inject=pwritev:signal=KILL:when=$number \
        "$SLUICEFS" disk -f image "$MNT" -o rw >strace.log 2>&1 || status=$?
    [ $status -eq 137 ] || { cat strace.log; fail "not killed at write $number, status $status"; }
    ! is_mounted || fail "mounted before write $number"
    if is_dirty image; then
        repaired image
    else
        qemu-img check -q -f qcow2 image || fail "clean and broken after $number writes"
    fi
done

note "two entries for one cluster"
qemu-img create -q -f qcow2 -o lazy_refcounts=on image $size
crash image 'write -q -P 1 0 64k' 'write -q -P 2 1M 64k'
python image <<'PYTHON'
# The entry of the second cluster becomes that of the first.
data = bytearray(open(sys.argv[1], "rb").read())
l1 = struct.unpack_from(">Q", data, 40)[0]
l2 = struct.unpack_from(">Q", data, l1)[0] & 0x00fffffffffffe00
data[l2 + 16 * 8:l2 + 17 * 8] = data[l2:l2 + 8]
open(sys.argv[1], "wb").write(data)
PYTHON
before=$(sha256sum image)
expect_fail 'two entries lead to the same cluster' "$SLUICEFS" disk -f image "$MNT" -o rw
serve "$MNT" disk image "$MNT"
expect_fail 'Read-only' dd if=text of="$MNT/disk" bs=512 count=1 conv=notrunc status=none
unmount
assert_eq "$(sha256sum image)" "$before" 'the image that cannot be repaired'
