#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# O_TMPFILE makes a file without a name that can be written and later linked into place.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
try:
    os.close(os.open(src, os.O_TMPFILE | os.O_RDWR))
except OSError as error:
    print("SKIP: the store has no O_TMPFILE:", error)
    sys.exit(77)
fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR, 0o640)
equal(os.listdir(mnt), [])
os.write(fd, b"nameless")
equal(os.fstat(fd).st_nlink, 0)
equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o640)
os.link(f"/proc/self/fd/{fd}", mnt + "/named", src_dir_fd=fd)
equal(os.fstat(fd).st_nlink, 1)
os.close(fd)
equal(read_file(src + "/named"), b"nameless")
equal(read_file(mnt + "/named"), b"nameless")

fd = os.open(mnt, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
expect_errno(errno.ENOENT, os.link, f"/proc/self/fd/{fd}", mnt + "/never", src_dir_fd=fd)
os.close(fd)
equal(os.listdir(mnt), ["named"])
PYTHON
unmount
