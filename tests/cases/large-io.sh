#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Transfers of any size and alignment, appends from several writers, and offsets beyond 4 GiB are
# right.
#
# limit: 90
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
rng = random.Random(7)
for size in (0, 1, 4095, 4097, 131071, 131073, 1048575, 1048577, 5000011):
    data = rng.randbytes(size)
    write_file(f"{mnt}/odd", data)
    equal(read_file(f"{src}/odd") == data, True, f"written {size}")
    write_file(f"{src}/from-below-{size}", data)
    equal(read_file(f"{mnt}/from-below-{size}") == data, True, f"read {size}")
    fd = os.open(f"{mnt}/from-below-{size}", os.O_RDONLY)
    for _ in range(20):
        offset, length = rng.randrange(size + 10), rng.randrange(300000)
        equal(os.pread(fd, length, offset) == data[offset:offset + length], True,
              f"{length} at {offset} of {size}")
    os.close(fd)

# Vectors of odd lengths.
fd = os.open(mnt + "/vectors", os.O_RDWR | os.O_CREAT)
parts = [rng.randbytes(rng.randrange(1, 5000)) for _ in range(300)]
equal(os.writev(fd, parts), sum(map(len, parts)))
back = [bytearray(rng.randrange(1, 5000)) for _ in range(400)]
os.lseek(fd, 0, os.SEEK_SET)
n = os.readv(fd, back)
equal((b"".join(back))[:n], b"".join(parts)[:n])
os.close(fd)

# Offsets beyond 32 bits.
fd = os.open(mnt + "/far", os.O_RDWR | os.O_CREAT)
for offset in ((1 << 31) - 5, (1 << 32) - 5, (1 << 33) + 1, (1 << 42) + 3):
    os.pwrite(fd, b"0123456789", offset)
    equal(os.pread(fd, 10, offset), b"0123456789")
    equal(os.pread(fd, 5, offset - 5), bytes(5))
os.close(fd)
os.unlink(mnt + "/far")

# Appends of several processes: every record whole, none lost.
children = []
for writer in range(4):
    child = os.fork()
    if child == 0:
        fd = os.open(mnt + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in range(250):
            os.write(fd, b"%d %d %s\n" % (writer, number, b"." * (number % 100)))
        os._exit(0)
    children.append(child)
for child in children:
    equal(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
lines = read_file(src + "/log").splitlines()
equal(len(lines), 1000)
equal(len({tuple(line.split()[:2]) for line in lines}), 1000)

# Unlinked, truncated and reused while readers are at it.
stop = time.monotonic() + 2


def rewrite():
    number = 0
    while time.monotonic() < stop:
        number += 1
        write_file(mnt + "/new", b"%08d" % number * 1000)
        os.rename(mnt + "/new", mnt + "/current")


write_file(mnt + "/current", b"00000000" * 1000)
thread = threading.Thread(target=rewrite)
thread.start()
while time.monotonic() < stop:
    data = read_file(mnt + "/current")
    equal(len(data), 8000)
    equal(data, data[:8] * 1000, "a file that is replaced, never changed")
thread.join()
PYTHON
unmount
