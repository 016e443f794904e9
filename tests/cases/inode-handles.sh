#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With file handles a large tree costs no descriptors, and files stay what they are when
# others remove, replace and rename them.
#
# limit: 90
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
FILES=3000

descriptors() {
    find "/proc/${DAEMON[$MNT]}/fd" -mindepth 1 | wc -l
}

# Another mount below, without handles of its own file system's files before it is entered.
mkdir "$SRC/other"
mount -t tmpfs -o size=1m none "$SRC/other"
trap 'umount -l "$SRC/other" 2>/dev/null || true' EXIT
mount_passthrough --inode-handles=always
python "$MNT" "$SRC" "$FILES" <<'PYTHON'
mnt, src, files = sys.argv[1], sys.argv[2], int(sys.argv[3])
for i in range(files):
    write_file(f"{src}/{i}", b"%d" % i)
seen = [os.stat(f"{mnt}/{i}") for i in range(files)]
for i, st in enumerate(seen):
    below = os.stat(f"{src}/{i}")
    equal((st.st_ino, st.st_size, st.st_mtime_ns), (below.st_ino, below.st_size, below.st_mtime_ns))
PYTHON
open_now=$(descriptors)
note "descriptors with $FILES files known: $open_now"
[ "$open_now" -lt 200 ] || fail "$open_now descriptors for $FILES files"

python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
# Every kind of operation on files that are known by handle only.
os.mkdir(mnt + "/dir")
os.chmod(mnt + "/dir", 0o750)
write_file(mnt + "/dir/file", b"data")
os.symlink("file", mnt + "/dir/link")
equal(os.readlink(mnt + "/dir/link"), "file")
equal(read_file(mnt + "/dir/link"), b"data")
os.setxattr(mnt + "/dir/file", "user.a", b"b")
equal(os.getxattr(mnt + "/dir/file", "user.a"), b"b")
equal(os.listxattr(mnt + "/dir/file"), ["user.a"])
os.removexattr(mnt + "/dir/file", "user.a")
os.link(mnt + "/dir/file", mnt + "/dir/second")
os.truncate(mnt + "/dir/second", 2)
os.utime(mnt + "/dir/link", (1, 2), follow_symlinks=False)
equal(os.lstat(src + "/dir/link").st_mtime, 2)
os.rename(mnt + "/dir/second", mnt + "/third")
equal(read_file(src + "/third"), b"da")
os.mkfifo(mnt + "/dir/fifo")
equal(sorted(os.listdir(mnt + "/dir")), ["fifo", "file", "link"])
equal(os.statvfs(mnt + "/dir").f_bsize, os.statvfs(src).f_bsize)

# The mount below.
write_file(mnt + "/other/file", b"on another file system")
equal(read_file(src + "/other/file"), b"on another file system")

# Removed through the mount, without an open file to hold it: a directory that is somebody's, a
# descriptor without rights.
os.mkdir(mnt + "/gone")
dir_fd = os.open(mnt + "/gone", os.O_PATH)
write_file(mnt + "/file", b"bytes")
path_fd = os.open(mnt + "/file", os.O_PATH)
write_file(mnt + "/over", b"overwritten")
over_fd = os.open(mnt + "/over", os.O_PATH)
write_file(mnt + "/new", b"new")
os.rmdir(mnt + "/gone")
os.unlink(mnt + "/file")
os.rename(mnt + "/new", mnt + "/over")
time.sleep(1.5)  # what the kernel was told may not be believed any more
equal(os.fstat(dir_fd).st_nlink, 0)
equal((os.fstat(path_fd).st_nlink, os.fstat(path_fd).st_size), (0, 5))
equal((os.fstat(over_fd).st_nlink, os.fstat(over_fd).st_size), (0, 11))
fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY)
equal(os.read(fd, 10), b"bytes")
for fd in (fd, dir_fd, path_fd, over_fd):
    os.close(fd)
equal(read_file(mnt + "/over"), b"new")

# Removed and made again below the mount: the number may be the same, the file is not.
for i in range(20):
    write_file(mnt + "/name", b"old")
    fd = os.open(mnt + "/name", os.O_PATH)
    os.unlink(src + "/name")
    write_file(src + "/name", b"another")
    deadline = time.monotonic() + 60
    while read_file(mnt + "/name") != b"another":
        assert time.monotonic() < deadline, "the old file is still there"
        time.sleep(0.1)
    os.close(fd)
    os.unlink(mnt + "/name")

# Renamed below the mount: still the same file.
fd = os.open(mnt + "/over", os.O_PATH)
os.rename(src + "/over", src + "/moved")
equal(os.fstat(fd).st_size, 3)
equal(read_file(f"/proc/self/fd/{fd}"), b"new")
os.close(fd)
PYTHON
unmount
