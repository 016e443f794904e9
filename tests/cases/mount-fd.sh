#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount that somebody else has made is served when its descriptor is given as /dev/fd/N: in
# the background and with --run, which sees the real mount point.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
echo served >"$SRC/file"
python "$SLUICEFS" "$SRC" "$MNT" <<'PYTHON'
import ctypes

sluicefs, src, mnt = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
NOSUID_NODEV = 6


def mount_fuse():
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
    if libc.mount(b"by-hand", mnt.encode(), b"fuse", NOSUID_NODEV, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return fd


def serve(*options):
    fd = mount_fuse()
    command = [sluicefs, "passthrough", *options, src, "/dev/fd/%d" % fd]
    result = subprocess.run(command, pass_fds=[fd], stdout=subprocess.PIPE, timeout=30)
    os.close(fd)
    return result


equal(serve("--run", 'cat "$MNT/file"; exit 3').returncode, 3)
result = serve()
equal(result.returncode, 0)
with open(mnt + "/file") as file:
    equal(file.read(), "served\n")
equal(subprocess.run([sluicefs, "umount", "--timeout=60", mnt]).returncode, 0)
PYTHON
is_mounted && fail "still mounted"
expect_fail 'descriptor is not open' "$SLUICEFS" passthrough "$SRC" /dev/fd/77
