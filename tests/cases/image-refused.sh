#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What cannot be shown of an image is refused with its reason, and what is damaged fails alone: encrypted and
# case-insensitive files, other file systems, unknown features, wrong checksums; errors= and fakeroot do what they say.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command mkfs.ext4 debugfs sfdisk setpriv
cd "$CASE_DIR"
mkdir -p tree/plain tree/encrypted tree/folded tree/damaged
for name in plain/file encrypted/file folded/File damaged/file verity secret key; do
    echo "$name" >"tree/$name"
done
chmod 600 tree/secret
own_mkfs_settings
ln -s "$(seq -s x 60)" tree/link

# make SIZE MKFS-ARGUMENT...: the file image, with the tree in it.
make() {
    rm -f image
    truncate -s "$1" image
    mkfs.ext4 -q -F -d tree "${@:2}" image >/dev/null 2>&1
}

# set_flags NAME FLAGS: add them to the inode's.
set_flags() {
    local old
    old=$(debugfs -R "stat $1" image 2>/dev/null | sed -n 's/.*Flags: \(0x[0-9a-f]*\).*/\1/p')
    debugfs -w -R "sif $1 flags $((old | $2))" image >/dev/null 2>&1
}

# says TEXT: the daemon's log has it.
says() {
    wait_for 20 grep -qE "$1" "$DAEMON_LOG" || fail "no '$1' in: $(cat "$DAEMON_LOG")"
}

# Encrypted, case-insensitive and verity files.
if make 16M -O encrypt,verity,casefold -E encoding=utf8; then
    set_flags /encrypted 0x800
    set_flags /key 0x800
    set_flags /link 0x800
    set_flags /folded 0x40000000
    set_flags /verity 0x100000
    serve "$MNT" image image "$MNT"
    assert_eq "$(cat "$MNT/plain/file")" plain/file
    assert_eq "$(cat "$MNT/verity")" verity
    expect_fail 'Required key not available' cat "$MNT/key"
    expect_fail 'Required key not available' ls "$MNT/encrypted"
    expect_fail 'Required key not available' cat "$MNT/encrypted/file"
    expect_fail 'Required key not available' python3 -c "import os; os.readlink('$MNT/link')"
    says 'inode [0-9]+ is encrypted, and a key cannot be given here'
    assert_eq "$(python3 -c "import os; print(os.listdir('$MNT/folded'))")" "['File']"
    expect_fail 'not supported' cat "$MNT/folded/file"
    says 'inode [0-9]+ is case-insensitive'
    unmount
else
    note "this mkfs knows no encryption"
fi

# Other file systems. The CD looks like a disk with partitions, too.
rm -f image
truncate -s 1M image
python <<'PYTHON'
import struct

with open("image", "r+b") as file:
    file.write(struct.pack("<4sIIIIHHHHHHQQQQQQQQ", b"hsqs", 1, 0, 131072, 0, 1, 17, 0, 1, 4, 0, 0, 4096, 0, 0, 0, 0, 0, 0))
PYTHON
expect_fail 'holds squashfs, not ext2, ext3 or ext4, and is not shown here yet; squashfuse' "$SLUICEFS" image image "$MNT" -f
rm image
truncate -s 1M image
printf '\001CD001\001' | dd of=image bs=1 seek=32768 conv=notrunc status=none
expect_fail 'holds iso9660, .* not shown here yet' "$SLUICEFS" image image "$MNT" -f
printf 'label: dos\nstart=64,size=1000,type=17' | sfdisk -q image
expect_fail 'holds iso9660, .* not shown here yet' "$SLUICEFS" image image "$MNT" -f

# Features, known by name and not.
make 8M -O '^metadata_csum,^has_journal'
python <<'PYTHON'
import struct

with open("image", "r+b") as file:
    file.seek(1024 + 0x60)
    old = struct.unpack("<I", file.read(4))[0]
    file.seek(1024 + 0x60)
    file.write(struct.pack("<I", old | 0x40000001))
PYTHON
expect_fail 'features that are not known here: compression, 0x40000000' "$SLUICEFS" image image "$MNT" -f
make 8M -O '^has_journal'
debugfs -w -R 'feature journal_dev' image >/dev/null 2>&1
expect_fail "journal of a file system on another device|holds jbd" "$SLUICEFS" image image "$MNT" -f

# Permissions: the kernel's, or none.
chmod 711 "$CASE_DIR"
make 8M -O '^has_journal'
serve "$MNT" image image "$MNT" -o allow_other
assert_eq "$(setpriv --reuid=65534 --clear-groups cat "$MNT/plain/file")" plain/file
expect_fail 'Permission denied' setpriv --reuid=65534 --clear-groups cat "$MNT/secret"
unmount
serve "$MNT" image image "$MNT" -o allow_other,fakeroot,errors=remount-ro
assert_eq "$(setpriv --reuid=65534 --clear-groups cat "$MNT/secret")" secret
assert_eq "$(stat -c %u:%a "$MNT/secret")" 0:600
unmount

# Damage: an inode, a block of a directory; everything else can be read.
make 8M -O '^has_journal,metadata_csum' -I 256 -b 4096
python "$(debugfs -R 'imap /secret' image 2>/dev/null | sed -n 's/.*at block \([0-9]*\), offset \(0x[0-9a-f]*\).*/\1 \2/p')" \
    "$(debugfs -R 'bmap /damaged 0' image 2>/dev/null)" <<'PYTHON'
import sys

block, offset = (int(word, 0) for word in sys.argv[1].split())
with open("image", "r+b") as file:
    file.seek(block * 4096 + offset + 8)
    file.write(b"time")
    file.seek(int(sys.argv[2]) * 4096 + 50)
    file.write(b"names")
PYTHON
number=$(debugfs -R 'stat /damaged' image 2>/dev/null | sed -n 's/^Inode: \([0-9]*\).*/\1/p')
serve "$MNT" image image "$MNT"
expect_fail 'Structure needs cleaning' stat "$MNT/secret"
says "'.*image': inode [0-9]+: its checksum is wrong"
expect_fail 'Structure needs cleaning' ls "$MNT/damaged"
expect_fail 'Structure needs cleaning' cat "$MNT/damaged/file"
says "inode $number: block 0 of the directory is damaged"
assert_eq "$(cat "$MNT/plain/file")" plain/file
unmount
serve "$MNT" image image "$MNT" -o errors=panic
assert_eq "$(cat "$MNT/plain/file")" plain/file
expect_fail '' stat "$MNT/secret"
expect_daemon_status '[1-9][0-9]*'
says "is damaged, which ends the mount"
! is_mounted || umount -l "$MNT"
