#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs disk --list tells what is on a disk: GPT, also with a broken first copy, MBR with logical
# partitions, file systems without a table, nonsense; and bad options get one clear error.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_command sfdisk mkfs.ext4
cd "$CASE_DIR"

# partitions IMAGE [OPTION...]: "number offset size content label" of each.
partitions() {
    "$SLUICEFS" disk --list --json "$@" | python3 -c '
import json, sys
for p in json.load(sys.stdin)["partitions"]:
    print(p["number"], p["offset"], p["size"], p["content"]["type"], p["content"]["label"], p["label"])'
}

truncate -s 40M gpt
printf 'label: gpt\nsize=8M,name=alpha\nsize=8M\n' | sfdisk -q gpt
mkfs.ext4 -q -L root -E offset=1048576 gpt 8M
expected='1 1048576 8388608 ext4 root alpha
2 9437184 8388608 None None None'
assert_eq "$(partitions gpt)" "$expected" gpt
cp gpt backup
dd if=/dev/zero of=backup bs=512 seek=1 count=1 conv=notrunc status=none
assert_eq "$(partitions backup)" "$expected" 'the backup table'

truncate -s 60M mbr
printf 'label: dos\n1 : size=8M\n2 : size=40M,type=5\n5 : size=4M\n6 : size=4M\n7 : size=4M\n' | sfdisk -q mbr
assert_eq "$(partitions mbr | cut -d' ' -f1,3)" '1 8388608
5 4194304
6 4194304
7 4194304' mbr
"$SLUICEFS" disk --list mbr | grep -q 'part7 .*0x83' || fail "the table for people"
for offset in $(sfdisk -J mbr | python3 -c 'import json, sys
for p in json.load(sys.stdin)["partitiontable"]["partitions"]: print(p["start"] * 512)' | tail -n 3); do
    "$SLUICEFS" disk --list --json mbr | grep -q "\"offset\" : $offset" || fail "no partition at $offset"
done

mkfs.ext4 -q -L whole whole 4M
assert_eq "$(partitions whole)" '0 0 4194304 ext4 whole None' 'a file system without a table'
# A disk inside of a file.
{ head -c 4096 /dev/zero; cat gpt; head -c 999 /dev/zero; } >inside
assert_eq "$(partitions inside -o offset=4K,size=40M)" "$expected" 'a disk inside of a file'

# A table that lies: partitions outside of the disk.
truncate -s 10M gpt
"$SLUICEFS" disk --list gpt >listing 2>&1 || true
head -c 1048576 gpt >short
"$SLUICEFS" disk --list short >/dev/null 2>&1 || true
for size in 0 1 511 512 513 4096; do
    python nonsense $size <<<'open(sys.argv[1], "wb").write(random.Random(1).randbytes(int(sys.argv[2])))'
    assert_eq "$(partitions nonsense)" '' "nonsense of $size bytes"
done
# An MBR of which everything points everywhere.
python mbr evil <<'PYTHON'
source, target = sys.argv[1:]
generator = random.Random(7)
table = bytearray(open(source, "rb").read(1 << 20))
for position in range(446, 510):
    table[position] = generator.randrange(256)
for entry in range(4):
    table[446 + 16 * entry + 4] = 5 if entry % 2 else 0x83
open(target, "wb").write(table)
PYTHON
partitions evil >/dev/null

# A Macintosh's table, whose types are text: what a terminal would obey is not shown.
python evil <<'PYTHON'
block = bytearray(8 << 20)
block[0:4] = b"ER" + struct.pack(">H", 512)
block[512:624] = struct.pack(">2sHIII32s32s28x", b"PM", 0, 1, 64, 128, b"name\033[2J", b"type\033[2J")
open(sys.argv[1], "wb").write(block)
PYTHON
"$SLUICEFS" disk --list evil >listing
grep -q 'part1 .*name\\x1b\[2J, type\\x1b\[2J' listing || { cat listing; fail "the table of a Macintosh"; }

# A GPT that an image cut off at its end has lost is no riddle.
truncate -s 64M cut
printf 'label: gpt\nsize=16M\n' | sfdisk -q cut
truncate -s 30M cut
"$SLUICEFS" disk --list cut >list 2>&1
grep -q 'no partition table' list || fail "$(cat list)"
grep -q "^sluicefs: warning: 'cut': it should have a GPT.*cut off (it has 31457280 bytes)" list || fail "$(cat list)"

expect_fail 'No such file' "$SLUICEFS" disk --list none
expect_fail 'passthrough' "$SLUICEFS" disk --list "$CASE_DIR"
expect_fail 'not a size' "$SLUICEFS" disk --list mbr -o offset=1x
expect_fail 'not a size' "$SLUICEFS" disk --list mbr -o size=9999999T
expect_fail 'leaves nothing' "$SLUICEFS" disk --list mbr -o offset=1G
expect_fail 'do not lie inside' "$SLUICEFS" disk --list mbr -o offset=50M,size=20M
expect_fail 'argument 1 is empty' "$SLUICEFS" disk '' "$MNT"
status=0
"$SLUICEFS" disk -f mbr "$MNT" -o size=2x || status=$?
assert_eq $status 1 'the exit status of wrong usage'
expect_fail "no partition '9'.*1, 5, 6, 7" "$SLUICEFS" disk -f mbr "$MNT" -o partition=9
expect_fail 'for --list' "$SLUICEFS" disk --json mbr "$MNT"
expect_fail 'needs DISK and MNT' "$SLUICEFS" disk mbr
