#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fallocate allocates, keeps the size, punches, zeroes and moves ranges, or says EOPNOTSUPP,
# exactly as the store does.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
K = 4096
calls = [
    (0, 0, 100),
    (0, 50000, 30000),
    (FALLOC_KEEP_SIZE, 0, 200 * K),
    (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, K, 3 * K),
    (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100, 1000),
    (FALLOC_PUNCH_HOLE, 0, K),
    (FALLOC_ZERO_RANGE, 5 * K, 2 * K + 17),
    (FALLOC_ZERO_RANGE, 30 * K, 2 * K),
    (FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 60 * K, 2 * K),
    (FALLOC_COLLAPSE_RANGE, 2 * K, 2 * K),
    (FALLOC_INSERT_RANGE, K, 2 * K),
    (0, 0, 0),
    (0, -1, 10),
]


def apply(directory):
    """Results and contents after each call, as a client of that directory sees them."""
    told = []
    with open(directory + "/file", "w+b") as file:
        file.write(bytes(i % 251 for i in range(100000)))
        file.flush()
        for mode, offset, length in calls:
            try:
                fallocate(file.fileno(), mode, offset, length)
                result = 0
            except OSError as error:
                result = error.errno
            told.append((mode, offset, length, result, os.fstat(file.fileno()).st_size,
                         hash(os.pread(file.fileno(), 1 << 20, 0))))
    return told


# FUSE itself knows no collapse and insert: EOPNOTSUPP is right for these two.
beyond_fuse = FALLOC_COLLAPSE_RANGE | FALLOC_INSERT_RANGE
calls = [call for call in calls if not call[0] & beyond_fuse]
through, below = apply(mnt), apply(src)
for a, b in zip(through, below):
    equal(a, b)
with open(mnt + "/file", "r+b") as file:
    for mode in (FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE):
        try:
            fallocate(file.fileno(), mode, 0, K)
        except OSError as error:
            equal(error.errno, errno.EOPNOTSUPP)
PYTHON
unmount
