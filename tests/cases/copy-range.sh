#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# copy_file_range copies within the mount, within one file, across its end and in large pieces.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
data = random.Random(1).randbytes(3 * 1024 * 1024 + 12345)
write_file(mnt + "/from", data)


def copy(from_fd, to_fd, length, from_offset, to_offset):
    done = 0
    while done < length:
        n = os.copy_file_range(from_fd, to_fd, length - done, from_offset + done, to_offset + done)
        if n == 0:
            break
        done += n
    return done


a = os.open(mnt + "/from", os.O_RDWR)
b = os.open(mnt + "/to", os.O_RDWR | os.O_CREAT)
equal(copy(a, b, len(data) + 1000, 0, 0), len(data), "bytes up to the end")
os.fsync(b)
equal(read_file(src + "/to"), data)
equal(copy(a, b, 5000, 777, 3), 5000)
equal(os.pread(b, 5000, 3), data[777:5777])
equal(os.copy_file_range(a, b, 100, len(data), 0), 0)
equal(copy(a, a, 1000, 0, 2000000), 1000)
equal(os.pread(a, 1000, 2000000), data[:1000])
expect_errno(errno.EINVAL, os.copy_file_range, a, a, 1000, 0, 500)
r = os.open(mnt + "/to", os.O_RDONLY)
expect_errno(errno.EBADF, os.copy_file_range, a, r, 10, 0, 0)
for fd in (a, b, r):
    os.close(fd)

# What was just written and not yet synced is copied too.
with open(mnt + "/fresh", "w+b") as fresh, open(mnt + "/fresh-copy", "w+b") as out:
    os.pwrite(fresh.fileno(), b"fresh" * 1000, 0)
    equal(copy(fresh.fileno(), out.fileno(), 5000, 0, 0), 5000)
    equal(os.pread(out.fileno(), 5000, 0), b"fresh" * 1000)
PYTHON
unmount
