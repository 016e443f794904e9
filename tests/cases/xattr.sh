#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Extended attributes are set, read, listed, replaced and removed with the right sizes and errors.
. "$(dirname "$0")/functions.sh"

require_command setfattr getfattr
touch "$SRC/probe"
setfattr -n user.probe -v x "$SRC/probe" 2>/dev/null || skip "no user xattrs in $SRC"
mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
path = mnt + "/file"
write_file(path, b"x")
expect_errno(errno.ENODATA, os.getxattr, path, "user.none")
os.setxattr(path, "user.one", b"1")
os.setxattr(path, "user.empty", b"")
os.setxattr(path, "user.long", bytes(range(256)) * 8)
equal(os.getxattr(src + "/file", "user.long"), bytes(range(256)) * 8)
equal(os.getxattr(path, "user.empty"), b"")
equal(sorted(os.listxattr(path)), sorted(os.listxattr(src + "/file")))
expect_errno(errno.EEXIST, os.setxattr, path, "user.one", b"2", os.XATTR_CREATE)
expect_errno(errno.ENODATA, os.setxattr, path, "user.two", b"2", os.XATTR_REPLACE)
os.setxattr(path, "user.one", b"22", os.XATTR_REPLACE)
equal(os.getxattr(path, "user.one"), b"22")
os.removexattr(path, "user.one")
expect_errno(errno.ENODATA, os.removexattr, path, "user.one")

# A buffer that is too small.
libc = ctypes.CDLL(None, use_errno=True)
small = ctypes.create_string_buffer(3)
equal(libc.getxattr(os.fsencode(path), b"user.long", small, 3), -1)
equal(ctypes.get_errno(), errno.ERANGE)
equal(libc.getxattr(os.fsencode(path), b"user.long", None, 0), 2048)

# Directories, and links without following them.
os.mkdir(mnt + "/dir")
os.setxattr(mnt + "/dir", "user.dir", b"d")
equal(os.getxattr(src + "/dir", "user.dir"), b"d")
os.symlink("file", mnt + "/link")
equal(os.getxattr(mnt + "/link", "user.empty"), b"")
expect_errno(errno.EPERM, os.setxattr, mnt + "/link", "user.x", b"", follow_symlinks=False)
equal(os.listxattr(mnt + "/link", follow_symlinks=False), [])
if os.geteuid() == 0:
    os.setxattr(mnt + "/link", "trusted.link", b"t", follow_symlinks=False)
    equal(os.getxattr(src + "/link", "trusted.link", follow_symlinks=False), b"t")
    os.setxattr(path, "trusted.file", b"t")
    assert "trusted.file" in os.listxattr(path)

# Many attributes, until the store refuses; what was stored is all there.
stored = []
for number in range(2000):
    try:
        os.setxattr(mnt + "/dir", f"user.n{number}", b"v" * 20)
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EDQUOT, errno.E2BIG), error
        break
    stored.append(f"user.n{number}")
assert set(stored) <= set(os.listxattr(mnt + "/dir"))
PYTHON
unmount
