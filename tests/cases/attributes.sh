#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# chmod, chown, truncate, utimensat and stat through the mount agree with the store, to the
# nanosecond.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]


def same(name):
    a, b = os.lstat(mnt + "/" + name), os.lstat(src + "/" + name)
    for field in ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks",
                  "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_rdev"):
        equal(getattr(a, field), getattr(b, field), f"{field} of {name}")


write_file(mnt + "/file", b"x" * 5000)
os.mkdir(mnt + "/dir")
os.symlink("target", mnt + "/link")
for name in ("file", "dir", "link"):
    same(name)
for mode in (0o000, 0o4755, 0o2755, 0o644):
    os.chmod(mnt + "/file", mode)
    equal(stat.S_IMODE(os.lstat(src + "/file").st_mode), mode)
    same("file")
if os.geteuid() == 0:
    os.chown(mnt + "/file", 12345, 54321)
    os.chown(mnt + "/link", 7, 8, follow_symlinks=False)
    equal(os.lstat(src + "/link").st_uid, 7)
    os.chown(mnt + "/file", -1, 1)
    equal(os.lstat(src + "/file").st_uid, 12345)
    same("file")
    same("link")

moments = [(0, 0), (1, 999999999), (1234567890123456789, 987654321), (-5_000_000_001, 3_000_000_000_000_000_000)]
for atime, mtime in moments:
    for name in ("file", "dir", "link"):
        os.utime(mnt + "/" + name, ns=(atime, mtime), follow_symlinks=False)
        st = os.lstat(src + "/" + name)
        equal((st.st_atime_ns, st.st_mtime_ns), (atime, mtime), name)
        same(name)
before = time.time() - 2
os.utime(mnt + "/file")
assert before < os.stat(mnt + "/file").st_mtime < time.time() + 2
same("file")

os.truncate(mnt + "/file", 123)
same("file")
os.truncate(mnt + "/file", 1 << 40)
same("file")
expect_errno((errno.EFBIG, errno.EINVAL), os.truncate, mnt + "/file", (1 << 63) - 1)
expect_errno(errno.EISDIR, os.truncate, mnt + "/dir", 0)
expect_errno(errno.ENOTDIR, os.stat, mnt + "/file/below")

# mtime and ctime move when the file is written, mtime of the directory when a name comes.
os.utime(mnt + "/file", ns=(1, 1))
with open(mnt + "/file", "ab") as file:
    file.write(b"y")
assert os.stat(mnt + "/file").st_mtime > 1000
os.utime(mnt + "/dir", ns=(1, 1))
write_file(mnt + "/dir/new", b"")
assert os.stat(mnt + "/dir").st_mtime > 1000

a, b = os.statvfs(mnt), os.statvfs(src)
for field in ("f_bsize", "f_frsize", "f_blocks", "f_files", "f_namemax"):
    equal(getattr(a, field), getattr(b, field), field)
PYTHON
# The birth time, by statx.
assert_eq "$(stat -c %W "$MNT/dir")" "$(stat -c %W "$SRC/dir")" 'birth time'
unmount
