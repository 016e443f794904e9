#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Direct writes at depth, a shared mapping of the same pages and a file that is cut all the time
# do not wait for each other in a circle.
#
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command fio
mount_passthrough --helpers=1
python "$MNT" <<'PYTHON'
mnt = sys.argv[1]
path = mnt + "/file"
SIZE, PAGE, PAGES = 80 << 20, 4096, 256
write_file(path, bytes(SIZE))


def loop(step):
    """Call it over and over in a child, with the file open."""
    child = os.fork()
    if child == 0:
        fd = os.open(path, os.O_RDWR)
        mapped = mmap.mmap(fd, PAGES * PAGE)
        turn = 0
        while True:
            step(fd, mapped, turn)
            turn += 1
    return child


def dirty(fd, mapped, turn):
    mapped[turn % PAGES * PAGE] = turn % 256


def write_back(fd, mapped, turn):
    ctypes.CDLL(None).sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), 7)


def cut(fd, mapped, turn):
    os.ftruncate(fd, SIZE - PAGE * (turn % 2))


children = [loop(dirty), loop(write_back), loop(cut)]
try:
    subprocess.run(["fio", "--name=direct", f"--filename={path}", "--rw=randwrite", "--bs=4k",
                    "--direct=1", "--ioengine=libaio", "--iodepth=64", f"--size={PAGES * PAGE}",
                    "--io_size=24m", "--norandommap", "--overwrite=1", "--fallocate=none"],
                   stdout=subprocess.DEVNULL, check=True)
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
PYTHON
unmount
