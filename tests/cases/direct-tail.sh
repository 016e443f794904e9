#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# O_DIRECT reads and writes of files of odd sizes are right at the last page, also beside a
# shared map.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
path = mnt + "/file"
page = 4096


def direct_read(length, offset):
    """An O_DIRECT read into page-aligned memory."""
    buffer = mmap.mmap(-1, max(length, page))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        n = os.preadv(fd, [memoryview(buffer)[:length]], offset)
    finally:
        os.close(fd)
    return buffer[:n]


def direct_write(data, offset):
    buffer = mmap.mmap(-1, len(data))
    buffer[:] = data
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    try:
        equal(os.pwritev(fd, [buffer], offset), len(data))
    finally:
        os.close(fd)


for size in (1, 511, 512, 4095, 4096, 4097, 12289, 131072 + 13, 1048576 + 1, 3000001):
    data = random.Random(size).randbytes(size)
    write_file(path, data)
    got, at = b"", 0
    while at < size + page:
        part = direct_read(65536, at)
        got += part
        if len(part) < 65536:
            break
        at += len(part)
    equal(got == data, True, f"O_DIRECT read of {size} bytes")
    equal(direct_read(page, (size + page) // page * page), b"", "read behind the end")
    equal(read_file(path) == data, True, f"buffered read of {size} bytes")

# A map of the last page, and O_DIRECT writes before it.
write_file(path, b"m" * (2 * page + 100))
fd = os.open(path, os.O_RDWR)
mapped = mmap.mmap(fd, 2 * page + 100)
equal(mapped[2 * page:], b"m" * 100)
mapped[2 * page + 50:2 * page + 54] = b"tail"
direct_write(b"d" * page, page)
equal(mapped[page:page + 4], b"dddd", "the map after an O_DIRECT write")
equal(direct_read(page, 2 * page), b"m" * 50 + b"tail" + b"m" * 46, "O_DIRECT after a map write")
mapped.flush()
equal(read_file(src + "/file"), b"m" * page + b"d" * page + b"m" * 50 + b"tail" + b"m" * 46)

# An O_DIRECT write that extends the file, then is cut to an odd size.
direct_write(b"e" * page, 4 * page)
equal(os.fstat(fd).st_size, 5 * page)
os.ftruncate(fd, 4 * page + 10)
equal(direct_read(page, 4 * page), b"e" * 10)
equal(direct_read(page, 3 * page), bytes(page), "the hole before it")
os.close(fd)
PYTHON
unmount
