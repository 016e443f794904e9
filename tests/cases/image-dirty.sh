#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A file system that was not unmounted cleanly is shown as e2fsck and the kernel would recover it, with every
# kind of journal, and the image is not touched; a journal that cannot be followed is refused.
#
# limit: 180
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command mkfs.ext4 losetup debugfs e2fsck
cd "$CASE_DIR"
mkdir inner

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

# journal_block TYPE: the place in crashed of the last block of this type (2: commit) of its journal, in blocks.
journal_block() {
    debugfs -R 'dump <8> journal' crashed 2>/dev/null
    debugfs -R "bmap <8> $(python3 - "$1" "$(dumpe2fs -h crashed 2>/dev/null | sed -n 's/^Block size: *//p')" <<'PYTHON'
import struct
import sys

kind, size = int(sys.argv[1]), int(sys.argv[2])
data = open("journal", "rb").read()
found = []
for index in range(1, len(data) // size):
    magic, this, number = struct.unpack_from(">III", data, index * size)
    if magic == 0xC03B3998 and this == kind:
        found.append((number, index))
print(max(found)[1])
PYTHON
    )" crashed 2>/dev/null
}

crashed_image rw
same_as_recovered 'checksums v3'

# Without its last commit, the last transaction has not happened.
cp --sparse=always crashed whole
dd if=/dev/zero of=crashed bs=1024 seek="$(journal_block 2)" count=1 conv=notrunc status=none
cp ours before
same_as_recovered 'a torn transaction'
! cmp -s before ours || fail "the torn transaction is there"

# A logged block that is not what was logged, and a wrong commit: the kernel refuses, too.
for kind in 1 2; do
    cp --sparse=always whole crashed
    at=$(journal_block $kind)
    [ "$kind" -eq 2 ] || at=$((at + 1))
    printf 'damaged' | dd of=crashed bs=1 seek=$((at * 1024 + 100)) conv=notrunc status=none
    expect_fail "wrong checksum; run e2fsck -E journal_only '.*crashed'" "$SLUICEFS" image crashed "$MNT" -f
done
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

# Fast commits are refused with the command that applies them.
truncate -s 64M image
mkfs.ext4 -q -F -O fast_commit image
in_loop image commit=1000 bash -c 'mkdir inner/x; sync -f inner; for i in 1 2 3; do echo $i >inner/x/$i
    python3 -c "import os; os.fsync(os.open(\"inner/x/$i\", os.O_RDWR))"; done; cp --sparse=always image crashed'
debugfs -R 'dump <8> journal' crashed 2>/dev/null
# Their blocks, at the end of the journal, begin with tag 9.
if [ "$(tail -c +$((1 + 4097 * 1024)) journal | od -An -tu2 -N2 | tr -d ' ')" = 9 ]; then
    expect_fail "fast commits; run e2fsck -E journal_only '.*crashed'" "$SLUICEFS" image crashed "$MNT" -f
    e2fsck -p -E journal_only crashed >e2fsck.log 2>&1 || [ $? -le 1 ] || fail "e2fsck: $(cat e2fsck.log)"
    serve "$MNT" image crashed "$MNT"
    assert_eq "$(cat "$MNT/x/3")" 3
    unmount
else
    note "this kernel made no fast commits"
fi
