#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Errors of the store reach the client unchanged: full, read-only, too large, not empty; writing
# goes on when there is space again.
. "$(dirname "$0")/functions.sh"

require_root
mkdir "$CASE_DIR/small"
mount -t tmpfs -o size=4m,nr_inodes=100 none "$CASE_DIR/small"
mount_passthrough_at "$CASE_DIR/small" "$MNT"
python "$MNT" <<'PYTHON'
os.chdir(sys.argv[1])
fd = os.open("full", os.O_RDWR | os.O_CREAT)
written = 0
try:
    while True:
        written += os.write(fd, b"x" * 300000)
except OSError as error:
    equal(error.errno, errno.ENOSPC)
assert 3 << 20 < written <= 4 << 20, written
equal(os.fstat(fd).st_size, written)
os.close(fd)
expect_errno(errno.ENOSPC, lambda: write_file("more", b"x" * 100000))
os.unlink("full")


def write_again():
    try:
        write_file("more", b"y" * 100000)
        return True
    except OSError as error:
        equal(error.errno, errno.ENOSPC)
        return False


# The daemon hears of the last close a moment later, then the space is free.
ends = time.monotonic() + 20
while not write_again():
    assert time.monotonic() < ends, "the space of a removed file is not given back"
    time.sleep(0.1)
equal(read_file("more"), b"y" * 100000)


def fill_inodes():
    for number in range(200):
        os.close(os.open(f"i{number}", os.O_CREAT | os.O_WRONLY))


expect_errno(errno.ENOSPC, fill_inodes)
for number in range(4):
    os.unlink(f"i{number}")
os.mkdir("dir")
write_file("more", b"")
write_file("dir/file", b"")
expect_errno((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, "dir")
expect_errno(errno.ENOTDIR, os.rmdir, "more")
expect_errno(errno.EISDIR, os.unlink, "dir")
expect_errno(errno.EEXIST, os.mkdir, "dir")
expect_errno(errno.ENOENT, os.unlink, "none")
expect_errno(errno.ELOOP, lambda: (os.symlink("loop", "loop"), os.stat("loop")))
expect_errno(errno.EISDIR, os.open, "dir", os.O_WRONLY)
PYTHON
# The daemon hears of the last close a moment later; until then something is open for writing.
wait_for 20 mount -o remount,ro "$CASE_DIR/small" 2>/dev/null || fail "the store is still being written to"
expect_fail 'Read-only' touch "$MNT/new"
expect_fail 'Read-only' sh -c "echo x >'$MNT/more'"
expect_fail 'Read-only' rm "$MNT/more"
mount -o remount,rw "$CASE_DIR/small"
touch "$MNT/new"
unmount
umount "$CASE_DIR/small"
