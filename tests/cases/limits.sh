#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sizes and offsets beyond what the source can have are EFBIG, as on the source, and change nothing.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
KEPT = b"kept"


def outcome(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def write_at(path, offset):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, b"x", offset)
    finally:
        os.close(fd)


def allocate_at(path, offset):
    fd = os.open(path, os.O_WRONLY)
    try:
        fallocate(fd, FALLOC_KEEP_SIZE, offset, 4096)
    finally:
        os.close(fd)


calls = [(os.truncate, 1 << shift) for shift in (40, 44, 52, 62)]
calls += [(os.truncate, 999999999999999), (os.truncate, 2**63 - 1)]
calls += [(function, 1 << 62) for function in (write_at, allocate_at)]
seen = []
for number, (function, where) in enumerate(calls):
    for top in (src, mnt):
        write_file(f"{top}/{number}-{os.path.basename(top)}", KEPT)
    expected = outcome(function, f"{src}/{number}-src", where)
    actual = outcome(function, f"{mnt}/{number}-mnt", where)
    equal(actual, expected, f"{function.__name__} {where}")
    equal(os.stat(f"{src}/{number}-mnt").st_size, os.stat(f"{src}/{number}-src").st_size)
    if actual != "done":
        equal(read_file(f"{src}/{number}-mnt"), KEPT)
    seen.append(actual)
    os.unlink(f"{mnt}/{number}-mnt")
    os.unlink(f"{src}/{number}-src")
print(*seen)
for call in (lambda: os.truncate(mnt, 0), lambda: os.truncate(mnt + "/none", 1 << 62)):
    expect_errno((errno.EISDIR, errno.ENOENT), call)
PYTHON
unmount
