#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SEEK_HOLE and SEEK_DATA report the same holes as the store, and sparse copies stay sparse.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]


def segments(path):
    """(kind, offset) of each data and hole segment."""
    fd = os.open(path, os.O_RDONLY)
    size, at, found = os.fstat(fd).st_size, 0, []
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            equal(error.errno, errno.ENXIO)
            break
        hole = os.lseek(fd, data, os.SEEK_HOLE)
        found.append((data, hole))
        at = hole
    os.close(fd)
    return found


MiB = 1 << 20
fd = os.open(mnt + "/sparse", os.O_RDWR | os.O_CREAT)
for offset in (0, 3 * MiB, 10 * MiB, 5 << 30):
    os.pwrite(fd, b"d" * 4096, offset)
os.ftruncate(fd, (5 << 30) + 8 * MiB)
os.fsync(fd)
equal(os.stat(mnt + "/sparse").st_blocks, os.stat(src + "/sparse").st_blocks)
found = segments(mnt + "/sparse")
equal(found, segments(src + "/sparse"))
equal(len(found), 4)
expect_errno(errno.ENXIO, os.lseek, fd, (5 << 30) + 8 * MiB, os.SEEK_HOLE)
expect_errno(errno.ENXIO, os.lseek, fd, (5 << 30) + MiB, os.SEEK_DATA)
equal(os.lseek(fd, 4096, os.SEEK_HOLE), 4096)
os.close(fd)
PYTHON
cp --sparse=auto "$MNT/sparse" "$MNT/copy"
blocks=$(stat -c %b "$SRC/copy")
[ "$blocks" -lt 1000 ] || fail "the copy uses $blocks blocks"
cmp -n 20000000 "$MNT/sparse" "$MNT/copy"
unmount

# What the kernel has not yet written back is data, too.
mount_passthrough --writeback
python "$MNT" <<'PYTHON'
mnt = sys.argv[1]
MiB = 1 << 20
for turn in range(5):
    fd = os.open(mnt + f"/dirty{turn}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 8 * MiB)
    os.pwrite(fd, b"d", 4 * MiB)
    equal(os.lseek(fd, 4 * MiB, os.SEEK_DATA), 4 * MiB)
    equal(os.lseek(fd, 0, os.SEEK_DATA) <= 4 * MiB, True)
    equal(os.lseek(fd, 4 * MiB, os.SEEK_HOLE) > 4 * MiB, True)
    os.close(fd)
PYTHON
unmount
