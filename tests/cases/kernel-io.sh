#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With kernel passthrough real programs find their data in place, and the daemon sees none of it.
#
# limit: 120
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command fio sqlite3

# counter NAME: a counter of the daemon's directory.
counter() {
    "$SLUICEFS" stats --json "$MNT" | python3 -c '
import json, sys
print(json.load(sys.stdin)["backend"][sys.argv[1]])' "$1"
}

# daemon_data: reads and writes that came to the daemon.
daemon_data() {
    echo $(($(counter reads_inline) + $(counter reads_ring) + $(counter writes_inline) +
        $(counter writes_ring)))
}

mount_passthrough --passthrough-io=on
echo first >"$MNT/first"
if [ "$(counter kernel_io_opens)" -eq 0 ]; then
    grep -E 'kernel passthrough' "$DAEMON_LOG" || fail "no kernel passthrough, and no word why"
    unmount
    skip "no kernel passthrough here"
fi
assert_eq "$(cat "$SRC/first")" first

note "fio: direct and buffered, random and in order"
for direct in 0 1; do
    fio --name=verify --directory="$MNT" --filename=fio.$direct --size=8m --bs=4k-64k \
        --rw=randrw --direct=$direct --ioengine=psync --verify=crc32c --verify_fatal=1 \
        --do_verify=1 --fsync=64 --output=/dev/null || fail "fio, direct=$direct"
    cmp "$MNT/fio.$direct" "$SRC/fio.$direct"
done

note "cp, maps, a program"
head -c 5000001 /dev/urandom >"$SRC/big"
cp "$MNT/big" "$MNT/copy"
cmp "$SRC/big" "$SRC/copy"
cp "$(type -P true)" "$MNT/program"
"$MNT/program"
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
write_file(mnt + "/map", b"a" * 100000)
fd = os.open(mnt + "/map", os.O_RDWR)
mapped = mmap.mmap(fd, 100000)
os.pwrite(fd, b"written", 5000)
equal(mapped[5000:5007], b"written", "the map after write")
mapped[70000:70006] = b"mapped"
equal(os.pread(fd, 6, 70000), b"mapped", "read after the map was changed")
equal(read_file(src + "/map")[70000:70006], b"mapped", "in the source")
os.ftruncate(fd, 200000)
equal(os.fstat(fd).st_size, 200000, "size")
os.pwrite(fd, b"end", 299997)
equal(os.fstat(fd).st_size, 300000, "size after a write behind the end")
equal(os.stat(src + "/map").st_size, 300000, "size in the source")
other = os.open(mnt + "/map", os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
equal(os.preadv(other, [page], 4096), 4096)
equal(page[904:911], b"written", "read directly while it is mapped")
PYTHON

note "SQLite"
sqlite3 "$MNT/test.db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(n INTEGER, body BLOB);
    WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500)
    INSERT INTO t SELECT n, randomblob(2000) FROM c;' >/dev/null
assert_eq "$(sqlite3 "$MNT/test.db" 'PRAGMA integrity_check; SELECT count(*) FROM t;')" $'ok\n500'
assert_eq "$(daemon_data)" 0 "reads and writes that came to the daemon"

note "a log: O_APPEND comes to the daemon, beside readers that do not"
for number in {1..20}; do
    echo "line $number" >>"$MNT/log"
done
assert_eq "$(tail -n 1 "$MNT/log")" "line 20"
assert_eq "$(daemon_data)" 20 "appended by the daemon"
assert_eq "$(counter kernel_io_withheld)" 20 "withheld from the kernel"
for name in mixed unsuited refused; do
    assert_eq "$(counter kernel_io_$name)" 0 "kernel_io_$name"
done
unmount

note "not with the writeback cache"
mount_passthrough --passthrough-io=on --writeback
echo second >"$MNT/second"
assert_eq "$(counter kernel_io_opens)" 0 "with the writeback cache"
grep -q 'no kernel passthrough: .*writeback' "$DAEMON_LOG" || fail "no warning"
unmount
