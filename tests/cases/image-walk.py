# SPDX-License-Identifier: LGPL-2.1-or-later
"""Print a line for each file of a tree, with all there is to know of it: for the cases of images.

    image-walk.py DIRECTORY [errors]     errors: of damaged files are printed, too
"""
import errno
import hashlib
import os
import stat
import sys


def areas_of(fd, size):
    """Where the kernel says that there is data; asked before it caches any, which would count."""
    areas, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        areas.append((start, at))
    return areas


def data_of(path, size):
    """The areas and a checksum of what is in them."""
    fd = os.open(path, os.O_RDONLY)
    try:
        areas = areas_of(fd, size)
        digest = hashlib.sha256(repr(areas).encode())
        for start, end in areas:
            while start < end:
                piece = os.pread(fd, min(1 << 20, end - start), start)
                assert piece, f"{path} ends at {start}"
                digest.update(piece)
                start += len(piece)
        # Some of the holes, and what is behind the end.
        for offset in (0, size // 3, max(size - 5000, 0)):
            digest.update(os.pread(fd, 10000, offset))
    finally:
        os.close(fd)
    return f"{digest.hexdigest()} {len(areas)}"


def describe(path, kind):
    try:
        print(*fields_of(path, kind))
    except OSError as error:
        if not ERRORS:
            raise
        print(repr(path), kind, errno.errorcode[error.errno])


def fields_of(path, kind):
    st = os.lstat(path)
    fields = [repr(path), kind, *(str(getattr(st, "st_" + name)) for name in (
        "ino", "mode", "nlink", "uid", "gid", "size", "blocks", "rdev", "atime_ns", "mtime_ns", "ctime_ns"))]
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        fields.append(f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}")
    if stat.S_ISLNK(st.st_mode):
        fields.append(repr(os.readlink(path)))
    if stat.S_ISREG(st.st_mode):
        fields.append(data_of(path, st.st_size))
    return fields


def entries_of(directory):
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                found.append((entry.name, entry.inode(), entry.is_dir(follow_symlinks=False)))
    except OSError as error:
        if not ERRORS:
            raise
        print(repr(directory), "listed until", errno.errorcode[error.errno])
    return sorted(found)


def walk(directory):
    describe(directory, "directory")
    for name, inode, is_directory in entries_of(directory):
        path = directory + b"/" + name
        if is_directory:
            walk(path)
        else:
            describe(path, f"entry {inode}")
    for name in (b"missing", b"name-", b"n" * 255):
        assert not os.path.lexists(directory + b"/" + name)


ERRORS = sys.argv[2:] == ["errors"]
os.chdir(sys.argv[1])
walk(b".")
usage = os.statvfs(".")
print(usage.f_bsize, usage.f_frsize, usage.f_blocks, usage.f_bfree, usage.f_bavail, usage.f_files, usage.f_ffree,
      usage.f_namemax)
