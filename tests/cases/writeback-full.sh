#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Pages of a shared mapping that do not fit into the store are reported, not lost in silence.
. "$(dirname "$0")/functions.sh"

require_root
mount -t tmpfs -o size=3584k tmpfs "$SRC"
trap 'umount -l "$SRC"' EXIT
mount_passthrough
python "$MNT" <<'PYTHON'
mnt = sys.argv[1]
SIZE = 4 << 20


def first_error(flags):
    """The errno of the first call that tells of the loss; 0: none did."""
    fd = os.open(mnt + "/file", os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags)
    try:
        os.ftruncate(fd, SIZE)
        with mmap.mmap(fd, SIZE) as mapped:
            mapped[:] = b"x" * SIZE
            mapped.flush()
        os.fsync(fd)
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)
        os.unlink(mnt + "/file")
    return 0


for flags in 0, os.O_SYNC:
    equal(first_error(flags), errno.ENOSPC, f"errno with flags {flags:#o}")
PYTHON
unmount
