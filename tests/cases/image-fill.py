# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fill a mounted ext2/3/4 file system with everything that it can hold: for image.sh."""
import errno
import os
import random
import socket
import stat
import struct
import sys

os.chdir(sys.argv[1])
generator = random.Random(1)
block = os.statvfs(".").f_bsize


def write(name, pieces, size=None):
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    for offset, data in pieces:
        os.pwrite(fd, data, offset)
    if size is not None:
        os.ftruncate(fd, size)
    os.close(fd)


def if_possible(function, *arguments, **keywords):
    """Some of these file systems cannot do some of it."""
    try:
        function(*arguments, **keywords)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EOPNOTSUPP, errno.EFBIG, errno.E2BIG, errno.EOVERFLOW):
            raise


# Sizes around every edge.
os.mkdir("sizes")
for size in {0, 1, 59, 60, 61, 100, 130, 160, 200, 500, block - 1, block, block + 1, 12 * block, 12 * block + 1,
             (12 + block // 4) * block + 5, 100000, 3000000}:
    write(f"sizes/{size}", [(0, generator.randbytes(size))])

# Holes: in one file near and far, so that every level of pointers is used.
os.mkdir("sparse")
write("sparse/all", [], 10_000_000)
far = [0, 3 * block, 13 * block, 300 * block, 1 << 24, 1 << 28, 1 << 30, 5 << 30]
for offset in far:
    if_possible(write, "sparse/far", [(offset + 17, generator.randbytes(100))])
write("sparse/cut", [(0, b"x" * 3 * block)], 2 * block + 7)
write("sparse/many", [(2 * i * block, generator.randbytes(block)) for i in range(1500)])
fd = os.open("sparse/unwritten", os.O_RDWR | os.O_CREAT)
if_possible(os.posix_fallocate, fd, 0, 200 * block)
os.pwrite(fd, generator.randbytes(3 * block), 50 * block)
os.close(fd)

# Names.
os.mkdir("names")
for name in ("x" * 255, "\xe4\xf6\xfc", " ", "a\nb", "-", "..."):
    write("names/" + name, [(0, name.encode())])
write(b"names/\xff\xfe", [(0, b"bytes")])
for count, directory in ((int(sys.argv[2]), "large"), (700, "holed"), (3, "small"), (60, "medium")):
    os.mkdir(directory)
    first = directory + "/first"
    write(first, [(0, b"first")])
    for i in range(count):
        name = f"{directory}/name-{i}" + "x" * (i % 7 * 5)
        if i % 10 == 0:
            write(name, [(0, b"%d" % i)])
        else:
            os.link(first, name)
        if i % 30000 == 29990:
            first = name  # a file may have 65000 names
for name in os.listdir("holed"):
    if generator.random() < 0.8:
        os.unlink("holed/" + name)
deep = "deep"
for i in range(40):
    os.mkdir(deep)
    deep += f"/level-{i}"
for i in range(40):
    os.makedirs(f"dirs/{i % 7}/{i}/x")

# Links and things that are not files.
os.mkdir("special")
for length in (1, 58, 59, 60, 61, 100, 155, 160, 300, 900):
    os.symlink("t" * length, f"special/link-{length}")
os.symlink("../sizes/1", "special/good-link")
for number, (kind, device) in enumerate(((stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (8, 17)), (stat.S_IFCHR, (300, 70000)),
                                         (stat.S_IFBLK, (4095, 1048575)), (stat.S_IFIFO, (0, 0)))):
    os.mknod(f"special/node-{number}", kind | 0o640, os.makedev(*device))
listener = socket.socket(socket.AF_UNIX)
listener.bind("special/socket")
listener.close()

# Owners, modes, times.
os.mkdir("attributes")
for number, mode in enumerate((0o000, 0o777, 0o4755, 0o2711, 0o1777, 0o640)):
    write(f"attributes/mode-{number}", [])
    os.chmod(f"attributes/mode-{number}", mode)
    os.chown(f"attributes/mode-{number}", 70000 * number, 4_000_000_000 if number == 3 else number)
    os.chmod(f"attributes/mode-{number}", mode)
for number, nanoseconds in enumerate((0, 1, -1, 999_999_999, -2_000_000_000_123_456_789, 4_000_000_000_987_654_321,
                                      10_000_000_000_000_000_001, 1_234_567_890_123_456_789)):
    write(f"attributes/time-{number}", [])
    os.utime(f"attributes/time-{number}", ns=(nanoseconds, nanoseconds // 2))

# Extended attributes: few, many, large; on all kinds of files.
os.mkdir("xattrs")
for number in range(8):
    name = f"xattrs/{number}"
    if number == 6:
        os.mkdir(name)
    else:
        write(name, [(0, b"x" * 70 * number)])
    os.setxattr(name, "user.short", b"value")
    if_possible(os.setxattr, name, "user.empty", b"")
    if number >= 1:
        if_possible(os.setxattr, name, "trusted.secret", b"for root")
        if_possible(os.setxattr, name, "security.test", b"\0binary\xff")
    if number >= 2:
        if_possible(os.setxattr, name, "user.long", generator.randbytes(350))
    if number == 3:
        for i in range(40):
            if_possible(os.setxattr, name, f"user.number-{i}", b"%d" % i * i)
    if number == 4:
        if_possible(os.setxattr, name, "user.large", generator.randbytes(3000))
    if number == 5:
        if_possible(os.setxattr, name, "user.huge", generator.randbytes(50000))


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


none = 0xFFFFFFFF
full = acl((1, 6, none), (2, 4, 1000), (2, 7, 80000), (4, 4, none), (8, 1, 1001), (16, 7, none), (32, 0, none))
os.setxattr("xattrs/0", "system.posix_acl_access", full)
os.setxattr("xattrs/6", "system.posix_acl_access", full)
os.setxattr("xattrs/6", "system.posix_acl_default", full)
os.symlink("nowhere", "xattrs/link")
os.setxattr("xattrs/link", "trusted.link", b"on the link", follow_symlinks=False)
os.chown("xattrs", 12, 34)
