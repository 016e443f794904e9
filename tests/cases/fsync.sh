#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fsync, fdatasync, O_SYNC, fsync of directories and syncfs succeed and leave the data in the
# source.
#
# limit: 180
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
fd = os.open(mnt + "/file", os.O_RDWR | os.O_CREAT)
for number in range(20):
    os.pwrite(fd, bytes([number]) * 10000, number * 10000)
    (os.fsync if number % 2 else os.fdatasync)(fd)
    equal(read_file(src + "/file")[-10000:], bytes([number]) * 10000)
os.close(fd)
fd = os.open(mnt + "/file", os.O_WRONLY | os.O_SYNC)
os.write(fd, b"synced")
equal(read_file(src + "/file")[:6], b"synced")
os.close(fd)
fd = os.open(mnt + "/file", os.O_WRONLY | os.O_DSYNC)
os.write(fd, b"DSYNC!")
os.close(fd)
fd = os.open(mnt, os.O_RDONLY | os.O_DIRECTORY)
os.fsync(fd)
os.close(fd)
fd = os.open(mnt + "/file", os.O_RDONLY)
os.fsync(fd)
equal(ctypes.CDLL(None).syncfs(fd), 0)
os.close(fd)

# Many at once: syncs overtake neither their writes nor each other.
def write_and_sync(number):
    fd = os.open(f"{mnt}/parallel-{number}", os.O_RDWR | os.O_CREAT)
    for round in range(10):
        os.pwrite(fd, bytes([round]) * 5000, 5000 * round)
        os.fsync(fd)
    os.close(fd)


threads = [threading.Thread(target=write_and_sync, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for number in range(8):
    equal(os.stat(f"{src}/parallel-{number}").st_size, 50000)
PYTHON
unmount
