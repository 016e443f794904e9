# SPDX-License-Identifier: LGPL-2.1-or-later
"""
disk-change.py DISK MODEL SIZE SEED ROUNDS: change a disk at random, by several threads with a part
each, and the file MODEL in the same way; what is read is what the model says.
"""
import os
import random
import sys
import threading

from check import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, equal, fallocate

THREADS = 3


def change(path, model, generator, low, high, rounds):
    """One thread's part: the bytes from low to high."""
    fd = os.open(path, os.O_RDWR)
    for _ in range(rounds):
        length = generator.choice([generator.randrange(1, 3000), generator.randrange(1, 150000),
                                   512, 4096, 65536])
        offset = generator.randrange(low, high - length)
        what = generator.randrange(8)
        if what < 2:
            mode = FALLOC_PUNCH_HOLE if what else FALLOC_ZERO_RANGE
            fallocate(fd, mode | FALLOC_KEEP_SIZE, offset, length)
            model[offset:offset + length] = bytes(length)
        elif what == 2:
            equal(os.pread(fd, length, offset) == model[offset:offset + length], True,
                  f"{length} bytes at {offset}")
        else:
            data = generator.randbytes(length)
            os.pwrite(fd, data, offset)
            model[offset:offset + length] = data
        if generator.randrange(30) == 0:
            os.fsync(fd)
    os.fsync(fd)
    os.close(fd)


def main():
    path, model_path = sys.argv[1:3]
    size, seed, rounds = map(int, sys.argv[3:])
    failures = []
    with open(model_path, "rb") as file:
        model = bytearray(file.read())

    def guarded(part):
        try:
            change(path, model, random.Random(seed * 100 + part), size // THREADS * part,
                   size // THREADS * (part + 1), rounds)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(part,)) for part in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    with open(model_path, "wb") as file:
        file.write(model)


main()
