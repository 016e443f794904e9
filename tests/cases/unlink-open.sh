#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A file that was removed while open stays readable, writable and syncable, also after its name
# was reused.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
os.chdir(mnt)
fd = os.open("file", os.O_RDWR | os.O_CREAT)
os.write(fd, b"before")
os.unlink("file")
equal(os.listdir("."), [])
os.pwrite(fd, b"after!", 6)
os.fsync(fd)
os.ftruncate(fd, 9)
os.fchmod(fd, 0o600)
equal(os.pread(fd, 100, 0), b"beforeaft")
equal(os.fstat(fd).st_size, 9)
equal(os.fstat(fd).st_nlink, 0)
write_file("file", b"new")
equal(os.pread(fd, 100, 0), b"beforeaft")
equal(read_file("file"), b"new")
os.close(fd)

os.mkdir("dir")
dirfd = os.open("dir", os.O_DIRECTORY)
os.rmdir("dir")
equal(os.listdir(dirfd), [])
expect_errno(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=dirfd)
os.close(dirfd)

# A thousand open files without a name give their space back when closed.
before = os.statvfs(src).f_bfree * os.statvfs(src).f_frsize
fds = []
for number in range(200):
    fd = os.open(f"n{number}", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes([number]) * 65536)
    os.unlink(f"n{number}")
    fds.append(fd)
for number, fd in enumerate(fds):
    equal(os.pread(fd, 65536, 0), bytes([number]) * 65536)
    os.close(fd)
equal(os.listdir("."), ["file"])
PYTHON
unmount
