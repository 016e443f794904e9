#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A file system that was not unmounted cleanly is shown as e2fsck and the kernel would recover it, with every
# kind of journal, and the image is not touched; a journal that cannot be followed is refused.
#
# limit: 400
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command mkfs.ext4 losetup debugfs e2fsck
cd "$CASE_DIR"
mkdir inner
own_mkfs_settings

# Changes in many transactions, with blocks of directories that become blocks of files, and data that looks like
# the journal's own. At the end a copy of the image is taken, as a crash would leave it.
cat >change.sh <<'CHANGE'
set -e
for round in 1 2 3 4 5 6; do
    mkdir -p inner/round$round/{a,b,c,d}/{e,f}
    cp -r "$1"/cases inner/round$round
    sync -f inner
    for i in 1 2 3; do
        { printf '\300\073\071\230more'; printf '\300\073\71\230'; head -c 20000 /dev/urandom; } >inner/magic-$round-$i
        printf '\300\073\071\230%09000d' $i >inner/escaped-$round-$i
    done
    [ $round -lt 2 ] || rm -r inner/round$((round - 1))/cases inner/round$((round - 1))/a
    sync -f inner
    head -c 600000 /dev/urandom >inner/data-$round
    setfattr -n user.round -v "$round" inner/data-$round
    ln -sf "data-$round" inner/latest
    sync -f inner
done
echo "not in the journal yet" >inner/late
cp --sparse=always image crashed
CHANGE

# crashed_image OPTIONS MKFS-ARGUMENT...: make the file crashed.
crashed_image() {
    local options=$1
    shift
    rm -f image
    truncate -s 64M image
    mkfs.ext4 -q -F "$@" image
    in_loop image "commit=1000,$options" bash change.sh "$TESTS" || fail "no image: $*"
}

# same_as_recovered NAME: crashed, as we show it, is what e2fsck makes of it, as the kernel shows that.
same_as_recovered() {
    local name=$1
    cp --sparse=always crashed recovered
    e2fsck -p -E journal_only recovered >e2fsck.log 2>&1 || [ $? -le 1 ] || fail "e2fsck: $(cat e2fsck.log)"
    same_walk crashed recovered "$name"
    tail -n 2 "$DAEMON_LOG" >said
    grep 'cleanly: [1-9]' said || fail "$name: the journal holds nothing: $(cat said)"
}

# journal_block WHAT: a block of crashed, by its place: the last one of this type (2: commit) of its journal, or "revoked":
# the copy of a block in the journal that a later revocation makes void (of a journal with checksums v3).
journal_block() {
    debugfs -R 'dump <8> journal' crashed 2>/dev/null
    debugfs -R "bmap <8> $(python3 - "$1" "$(dumpe2fs -h crashed 2>/dev/null | sed -n 's/^Block size: *//p')" <<'PYTHON'
import struct
import sys

what, size = sys.argv[1], int(sys.argv[2])
data = open("journal", "rb").read()
newest = struct.unpack_from(">I", data, 24)[0]
found, copies, revoked, wanted = [], {}, {}, 0
for index in range(1, len(data) // size):
    block = data[index * size:(index + 1) * size]
    magic, kind, number = struct.unpack_from(">III", block)
    if magic != 0xC03B3998 or number < newest:
        continue
    found.append((number, index, kind))
    if kind == 5:
        for at in range(16, struct.unpack_from(">I", block, 12)[0], 8):
            revoked[struct.unpack_from(">Q", block, at)[0]] = number
    at, copy, flags = 12, index, 0
    while kind == 1 and flags & 8 == 0 and at + 20 <= size:
        low, flags, high = struct.unpack_from(">III", block, at)
        at, copy = at + (16 if flags & 2 else 32), copy + 1
        copies[copy] = (high << 32 | low, number)
for copy, (block, number) in copies.items():
    if number <= revoked.get(block, 0) and copy < len(data) // size:
        wanted = copy
assert wanted or what != "revoked", "nothing in this journal is revoked"
print(wanted if what == "revoked" else max((n, i) for n, i, kind in found if kind == int(what))[1])
PYTHON
    )" crashed 2>/dev/null
}

# damage PLACE OFFSET: crashed is the file whole, with some wrong bytes in this block of 1 KiB.
damage() {
    cp --sparse=always whole crashed
    printf 'damaged' | dd of=crashed bs=1 seek=$(($1 * 1024 + $2)) conv=notrunc status=none
}

# same_as_mounted NAME: crashed, as we show it, is what a mount by the kernel makes of it.
same_as_mounted() {
    cp --sparse=always crashed recovered
    in_loop recovered rw true || fail "the kernel does not mount $1"
    same_walk crashed recovered "$1"
}

# kernel_mounts: whether it mounts recovered, a copy of crashed.
kernel_mounts() {
    cp --sparse=always crashed recovered
    in_loop recovered rw true 2>/dev/null
}

# refused_by_both NAME: the kernel does not mount crashed, nor do we.
refused_by_both() {
    ! kernel_mounts || fail "the kernel mounts $1"
    expect_fail "run e2fsck -E journal_only '.*crashed'" "$SLUICEFS" image crashed "$MNT" -f
    note "$1: refused by the kernel, too"
}

# as_the_kernel NAME: crashed is shown as the kernel recovers it, or refused if the kernel does that.
as_the_kernel() {
    if kernel_mounts; then
        same_as_mounted "$1"
    else
        refused_by_both "$1"
    fi
}

crashed_image rw
same_as_recovered 'checksums v3'

# Without its last commit, the last transaction has not happened.
cp --sparse=always crashed whole
dd if=/dev/zero of=crashed bs=1024 seek="$(journal_block 2)" count=1 conv=notrunc status=none
cp ours before
same_as_recovered 'a torn transaction'
! cmp -s before ours || fail "the torn transaction is there"

# A logged block that is not what was logged, and a wrong commit.
damage $(($(journal_block 1) + 1)) 100
refused_by_both 'a wrong logged block'
damage "$(journal_block 2)" 24
refused_by_both 'a wrong commit'
expect_fail 'a transaction of its journal has a wrong checksum; run e2fsck' "$SLUICEFS" image crashed "$MNT" -f
# What nobody needs may be wrong: the copy of a block that was revoked, and the rest of a commit's block.
damage "$(journal_block revoked)" 100
same_as_mounted 'a revoked block'
damage "$(journal_block 2)" 512
same_as_mounted 'a commit of which the first sector was written'
serve "$MNT" image crashed "$MNT" -o norecovery
ls "$MNT" >/dev/null
unmount

crashed_image data=journal -b 4096 -J size=8
same_as_recovered 'data in the journal'
crashed_image rw -b 1024 -O '^64bit,^metadata_csum' -J size=1
same_as_recovered 'no checksums, a journal that wrapped'
crashed_image journal_checksum -b 4096 -O '^64bit,^metadata_csum'
same_as_recovered 'checksums v1'
crashed_image journal_async_commit,data=journal -b 1024 -O '^metadata_csum,64bit'
same_as_recovered 'checksums v1, asynchronous commits'
cp crashed whole
damage "$(journal_block 2)" 16
same_as_mounted 'a torn asynchronous commit'
damage "$(journal_block 1)" 900
as_the_kernel 'a torn asynchronous transaction'
crashed_image journal_async_commit,data=journal -b 1024 -J size=4
cp crashed whole
damage "$(journal_block 2)" 16
same_as_mounted 'a torn asynchronous commit, checksums v3'
crashed_image rw -t ext3 -b 4096
same_as_recovered 'ext3'

# Checksums v2, which kernels do not write any more.
rm image
truncate -s 32M crashed
mkfs.ext4 -q -F -b 1024 -d "$TESTS/cases" crashed
first=$(debugfs -R 'bmap acl.sh 0' crashed 2>/dev/null)
second=$(debugfs -R 'bmap xattr.sh 0' crashed 2>/dev/null)
python3 - "$first" "$second" <<'PYTHON' | debugfs -w -f - crashed >debugfs.log 2>&1
import struct
import sys

first, second = sys.argv[1:]
print("jo -c -v 2")
for block in (first, second):
    with open(f"block-{block}", "wb") as file:
        file.write((struct.pack(">I", 0xC03B3998) + block.encode() * 200).ljust(1024))
    print(f"jw -b {block} block-{block}")
print(f"jw -r {second}")
print("jc")
PYTHON
same_as_recovered 'checksums v2'

# A file system that has grown: blocks behind its old end are in the log, as its new size is.
rm -f image
truncate -s 64M image
mkfs.ext4 -q -F image 16M
cat >grow.sh <<'GROW'
set -e
resize2fs "$(findmnt -n -o SOURCE inner)" 2>/dev/null
mkdir inner/{a..z}
sync -f inner
cp --sparse=always image crashed
GROW
if in_loop image commit=1000 bash grow.sh; then
    same_as_recovered 'a file system that has grown'
else
    note "file systems cannot grow here (that takes CAP_SYS_RESOURCE)"
fi

# Fast commits are refused with the command that applies them. A whole commit, for which the kernel may have
# reasons of its own, makes those before it void: then once more.
for ((try = 1; try <= 10; try++)); do
    rm -f image crashed
    truncate -s 64M image
    mkfs.ext4 -q -F -O fast_commit -E lazy_itable_init=0 image
    in_loop image commit=1000 bash -c 'mkdir inner/x; sync -f inner; for i in 1 2 3; do echo $i >inner/x/$i
        python3 -c "import os; os.fsync(os.open(\"inner/x/$i\", os.O_RDWR))"; done
        cp --sparse=always image crashed'
    debugfs -R 'dump <8> journal' crashed 2>/dev/null
    python3 - <<'PYTHON' || continue
import struct

data = open("journal", "rb").read()
blocks = [struct.unpack_from(">III", data, at) for at in range(0, len(data), 1024)]
last = max(number for magic, kind, number in blocks if magic == 0xC03B3998 and kind == 2)
# They are at the end of the journal and begin with tag 9, which has the number of the commit to come.
tag, _, _, number = struct.unpack_from("<HHII", data, 4097 * 1024)
raise SystemExit((tag, number) != (9, last + 1))
PYTHON
    expect_fail "fast commits; run e2fsck -E journal_only '.*crashed'" "$SLUICEFS" image crashed "$MNT" -f
    e2fsck -p -E journal_only crashed >e2fsck.log 2>&1 || [ $? -le 1 ] || fail "e2fsck: $(cat e2fsck.log)"
    serve "$MNT" image crashed "$MNT"
    assert_eq "$(cat "$MNT/x/3")" 3
    unmount
    break
done
[ $try -le 10 ] || note "this kernel made no fast commits"
