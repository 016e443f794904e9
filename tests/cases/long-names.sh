#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Names of 255 bytes work, of 256 are ENAMETOOLONG, and so are odd bytes; deep paths work.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
os.chdir(mnt)
longest, beyond = b"n" * 255, b"n" * 256
write_file(longest, b"long")
equal(read_file(src + b"/" + longest), b"long")
equal(os.listdir(b"."), [longest])
for call in (os.stat, os.mkdir, os.unlink, os.rmdir, os.readlink):
    expect_errno(errno.ENAMETOOLONG, call, beyond)
expect_errno(errno.ENAMETOOLONG, os.open, beyond, os.O_CREAT | os.O_WRONLY)
expect_errno(errno.ENAMETOOLONG, os.rename, longest, beyond)
expect_errno(errno.ENAMETOOLONG, os.link, longest, beyond)
expect_errno(errno.ENAMETOOLONG, os.symlink, b"x", beyond)
os.rename(longest, b"m" * 255)
os.unlink(b"m" * 255)

odd = [b" ", b"-rf", b"\xff\xfe", b"new\nline", b"tab\t", b"*?[", b"\\", "\u00fcml\u00e4ut".encode(), b"..."]
for name in odd:
    write_file(name, name)
equal(sorted(os.listdir(b".")), sorted(odd))
equal(sorted(os.listdir(src)), sorted(odd))
for name in odd:
    equal(read_file(name), name)
    os.unlink(name)

target = b"t" * 4095
os.symlink(target, b"link")
equal(os.readlink(b"link"), target)
equal(os.lstat(b"link").st_size, 4095)
expect_errno(errno.ENAMETOOLONG, os.symlink, b"t" * 4096, b"link2")

depth = 400
for level in range(depth):
    os.mkdir(b"d")
    os.chdir(b"d")
write_file(b"bottom", b"deep")
os.chdir(mnt)
equal(read_file(b"d/" * depth + b"bottom"), b"deep")
PYTHON
find "$MNT/d" -name bottom | grep -q bottom
rm -r "$MNT/d"
unmount
