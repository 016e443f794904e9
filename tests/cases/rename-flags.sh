#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rename replaces, refuses to replace, exchanges and whites out as renameat2 says.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
os.chdir(sys.argv[1])
write_file("a", b"a")
write_file("b", b"b")
os.mkdir("dir")
os.mkdir("full")
write_file("full/file", b"full")

# Without flags: replace files, refuse what POSIX refuses.
expect_errno(errno.ENOENT, os.rename, "none", "x")
expect_errno(errno.EISDIR, os.rename, "a", "dir")
expect_errno(errno.ENOTDIR, os.rename, "dir", "a")
expect_errno((errno.ENOTEMPTY, errno.EEXIST), os.rename, "dir", "full")
expect_errno(errno.EINVAL, os.rename, "full", "full/below")
held = open("b", "rb")
os.rename("a", "b")
equal(read_file("b"), b"a")
equal(held.read(), b"b", "the replaced file, still open")
equal(os.fstat(held.fileno()).st_nlink, 0, "links of the replaced file")
held.close()
os.rename("full", "dir")
equal(read_file("dir/file"), b"full")

# NOREPLACE.
write_file("c", b"c")
expect_errno(errno.EEXIST, rename2, "c", "b", RENAME_NOREPLACE)
rename2("c", "d", RENAME_NOREPLACE)
equal(read_file("d"), b"c")

# EXCHANGE: files, and a file with a directory; open files stay what they were.
held = open("b", "rb")
inode = os.stat("b").st_ino
rename2("b", "d", RENAME_EXCHANGE)
equal((read_file("b"), read_file("d")), (b"c", b"a"))
equal(os.stat("d").st_ino, inode)
equal(held.read(), b"a")
held.close()
rename2("b", "dir", RENAME_EXCHANGE)
equal(read_file("dir"), b"c")
equal(read_file("b/file"), b"full")
expect_errno(errno.ENOENT, rename2, "b", "none", RENAME_EXCHANGE)
expect_errno(errno.EINVAL, rename2, "b", "d", RENAME_EXCHANGE | RENAME_NOREPLACE)

# WHITEOUT leaves a 0:0 character device; needs root and a store that knows it.
os.chdir(sys.argv[2])
write_file("probe", b"")
try:
    rename2("probe", "probe2", RENAME_WHITEOUT)
    known = True
except OSError:
    known = False
os.chdir(sys.argv[1])
if known:
    rename2("d", "e", RENAME_WHITEOUT)
    st = os.lstat("d")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == 0, "no whiteout"
    equal(read_file("e"), b"a")

# Between directories, and what is below keeps working.
os.mkdir("p")
os.mkdir("p/q")
write_file("p/q/deep", b"deep")
inside = os.open("p/q", os.O_DIRECTORY)
os.rename("p/q", "q")
equal(os.stat("deep", dir_fd=inside).st_size, 4)
equal(read_file("q/deep"), b"deep")
os.close(inside)
PYTHON
diff -r "$SRC/q" "$MNT/q"
unmount
