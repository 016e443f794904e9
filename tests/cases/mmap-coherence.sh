#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Shared maps, reads and writes of one file see each other, in one process and between processes.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
path = mnt + "/file"
write_file(path, b"a" * 100000)
fd = os.open(path, os.O_RDWR)
mapped = mmap.mmap(fd, 100000)
os.pwrite(fd, b"written", 5000)
equal(mapped[5000:5007], b"written", "the map after write")
mapped[70000:70006] = b"mapped"
equal(os.pread(fd, 6, 70000), b"mapped", "read after the map was changed")

child = os.fork()
if child == 0:
    other = os.open(path, os.O_RDWR)
    theirs = mmap.mmap(other, 100000)
    ok = theirs[70000:70006] == b"mapped"
    theirs[0:5] = b"child"
    os._exit(0 if ok else 1)
equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
equal(mapped[0:5], b"child")
mapped.flush()
equal(read_file(src + "/file")[0:5], b"child")
equal(read_file(src + "/file")[70000:70006], b"mapped")

# A private map keeps its changes to itself.
private = mmap.mmap(fd, 100000, flags=mmap.MAP_PRIVATE)
private[10:17] = b"private"
assert os.pread(fd, 7, 10) != b"private"

# Bytes behind the end of the file in its last page are zero and never stored.
os.ftruncate(fd, 100)
small = mmap.mmap(fd, 100)
equal(small[0:5], b"child")
os.ftruncate(fd, 8192)
equal(os.pread(fd, 8092, 100), bytes(8092), "what was cut off and grew again")

# msync stores without close; the map outlives its descriptor.
big = mmap.mmap(fd, 8192)
os.close(fd)
big[4096:4100] = b"late"
big.flush()
equal(read_file(src + "/file")[4096:4100], b"late")
PYTHON
# A program runs from the mount.
cp /bin/true "$MNT/program"
"$MNT/program"
cp /bin/sleep "$MNT/program"
"$MNT/program" 0
unmount
