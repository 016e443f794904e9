#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of a mount whose daemon may have few descriptors: more are known than can be open.

inode-descriptors.py MOUNT SOURCE FILES

Every file holds its own name, so a wrong file is found at once. The mount must have attr_timeout=0.
"""

import errno
import os
import random
import subprocess
import sys
import threading

MNT, SRC, FILES = sys.argv[1], sys.argv[2], int(sys.argv[3])
PER_DIRECTORY = 100
CROWD = 150  # more than the daemon keeps open
RANDOM = random.Random(5)


def write_file(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read_file(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def equal(actual, expected, what=""):
    assert actual == expected, f"{what}: {actual!r}, expected {expected!r}"


def name_of(number):
    return f"{number // PER_DIRECTORY}/{number}"


def others(top):
    """Have other files looked at, so that the daemon closes what is not in use."""
    for number in RANDOM.sample(range(FILES), min(CROWD, FILES)):
        os.stat(f"{top}/{name_of(number)}")


def known(path):
    """A descriptor without rights, which only keeps the inode known to the daemon."""
    return os.open(path, os.O_PATH | os.O_NOFOLLOW)


def held_text(fd):
    return read_file(f"/proc/self/fd/{fd}")


def walk_and_read():
    os.makedirs(f"{SRC}/top/tree")
    for number in range(FILES):
        if number % PER_DIRECTORY == 0:
            os.mkdir(f"{SRC}/top/tree/{number // PER_DIRECTORY}")
        write_file(f"{SRC}/top/tree/{name_of(number)}", str(number))
    tree = f"{MNT}/top/tree"
    for number in range(FILES):
        seen = os.stat(f"{tree}/{name_of(number)}")
        below = os.stat(f"{SRC}/top/tree/{name_of(number)}")
        equal((seen.st_ino, seen.st_size), (below.st_ino, below.st_size))
    for number in RANDOM.sample(range(FILES), min(1000, FILES)):
        equal(read_file(f"{tree}/{name_of(number)}"), str(number))
    count = sum(len(files) for _, _, files in os.walk(tree))
    equal(count, FILES)


def rename_above():
    fds = {number: known(f"{MNT}/top/tree/{name_of(number)}") for number in range(0, FILES, FILES // 40)}
    directory = known(f"{MNT}/top/tree/0")
    os.rename(f"{MNT}/top", f"{MNT}/renamed")
    others(f"{MNT}/renamed/tree")
    for number, fd in fds.items():
        equal(held_text(fd), str(number))
        os.close(fd)
    equal(sorted(os.listdir(f"/proc/self/fd/{directory}")), sorted(map(str, range(PER_DIRECTORY))))
    os.close(directory)


def unlinked(tree):
    work = f"{MNT}/unlinked"
    os.mkdir(work)
    fds = []
    for number in range(20):
        write_file(f"{work}/{number}", f"unlinked {number}")
        fds.append(known(f"{work}/{number}"))
    os.mkdir(f"{work}/directory")
    gone = known(f"{work}/directory")
    for number in range(5):
        write_file(f"{work}/new{number}", "new")
    os.link(f"{work}/19", f"{work}/second")
    others(tree)
    for number in range(5):
        os.unlink(f"{work}/{number}")
        os.rename(f"{work}/new{number}", f"{work}/{number + 5}")
    os.rmdir(f"{work}/directory")
    os.unlink(f"{work}/19")
    others(tree)
    for number in range(20):
        equal(os.fstat(fds[number]).st_nlink, 0 if number < 10 else 1, number)
        equal(held_text(fds[number]), f"unlinked {number}")
    equal(os.fstat(gone).st_nlink, 0)
    equal(read_file(f"{work}/second"), "unlinked 19")
    others(tree)
    equal(held_text(fds[19]), "unlinked 19")
    os.unlink(f"{work}/second")
    others(tree)
    equal(held_text(fds[19]), "unlinked 19")
    for fd in [*fds, gone]:
        os.close(fd)


def exchanged(tree):
    work = f"{MNT}/exchanged"
    os.mkdir(work)
    fds = []
    for number in range(20):
        os.mkdir(f"{work}/{number}")
        write_file(f"{work}/{number}/file", str(number))
        fds.append(known(f"{work}/{number}/file"))
    others(tree)
    for number in range(0, 20, 2):
        os.rename(f"{work}/{number}", f"{work}/moving")
        os.rename(f"{work}/{number + 1}", f"{work}/{number}")
        os.rename(f"{work}/moving", f"{work}/{number + 1}")
    others(tree)
    for number in range(20):
        equal(held_text(fds[number]), str(number))
        equal(read_file(f"{work}/{number}/file"), str(number ^ 1))
        os.close(fds[number])


def deep(tree):
    os.mkdir(f"{MNT}/deep")
    at = known(f"{MNT}/deep")
    for _ in range(100):  # levels: more than are kept open
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_PATH, dir_fd=at)
        os.close(at)
        at = below
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at), "w", encoding="ascii") as file:
        file.write("far below")
    fd = os.open("file", os.O_PATH, dir_fd=at)
    os.close(at)
    others(tree)
    equal(held_text(fd), "far below")
    os.close(fd)


def changed_below(tree):
    """What others do may end in ESTALE, or show the old file, never another one."""
    work = "below"
    os.mkdir(f"{SRC}/{work}")
    fds = []
    for number in range(40):
        write_file(f"{SRC}/{work}/{number}", f"below {number}")
    for number in range(40):
        fds.append(known(f"{MNT}/{work}/{number}"))
    others(tree)
    for number in range(0, 40, 2):
        if number % 4 == 0:
            os.rename(f"{SRC}/{work}/{number}", f"{SRC}/{work}/{number + 1}")
        else:
            os.unlink(f"{SRC}/{work}/{number}")
            write_file(f"{SRC}/{work}/{number}", "made again")
    stale = 0
    for number in range(40):
        try:
            equal(held_text(fds[number]), f"below {number}")
        except OSError as error:
            equal(error.errno, errno.ESTALE)
            stale += 1
    print(f"{stale} of 40 files that others moved or removed are ESTALE")
    for fd in fds:
        os.close(fd)


def mount_tmpfs(directory, text):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", directory], check=True)
    write_file(f"{directory}/file", text)


def mounted_over(tree):
    """A file of a mount that others take away is not sought in the next one."""
    below = f"{SRC}/mount"
    os.mkdir(below)
    mount_tmpfs(below, "first")
    fd = known(f"{MNT}/mount/file")
    others(tree)
    subprocess.run(["umount", "-l", below], check=True)
    mount_tmpfs(below, "second")
    others(tree)
    equal(held_text(fd), "first")
    os.close(fd)
    subprocess.run(["umount", "-l", below], check=True)


def burst(number):
    """New files, faster than they grow old enough to be closed."""
    os.mkdir(f"{MNT}/burst{number}")
    for i in range(40):
        write_file(f"{MNT}/burst{number}/{i}", "")


def client(top, number, rounds):
    """Files of one client, all known; each step keeps the list of what must be where."""
    own = random.Random(number)
    work = f"{top}/client{number}"
    os.mkdir(work)
    os.mkdir(f"{work}/a")
    os.mkdir(f"{work}/b")
    files = {}
    for i in range(rounds):
        name = f"{own.choice('ab')}/{own.randrange(60)}"
        if name not in files:
            files[name] = f"{number} {i}"
            write_file(f"{work}/{name}", files[name])
        elif own.random() < 0.2:
            fd = known(f"{work}/{name}")
            os.unlink(f"{work}/{name}")
            text = files.pop(name)
            if files:
                os.stat(f"{work}/{own.choice(list(files))}")
            equal(held_text(fd), text)
            os.close(fd)
        elif own.random() < 0.3:
            to = f"{own.choice('ab')}/{own.randrange(60)}"
            os.rename(f"{work}/{name}", f"{work}/{to}")
            files[to] = files.pop(name)
        elif own.random() < 0.02:
            os.rename(f"{work}/a", f"{work}/c")
            os.rename(f"{work}/b", f"{work}/a")
            os.rename(f"{work}/c", f"{work}/b")
            files = {("b" if key[0] == "a" else "a") + key[1:]: text for key, text in files.items()}
        else:
            equal(read_file(f"{work}/{name}"), files[name])
    for name, text in files.items():
        equal(read_file(f"{work}/{name}"), text)


def in_threads(count, function):
    failures = []

    def run(number):
        try:
            function(number)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


walk_and_read()
rename_above()
TREE = f"{MNT}/renamed/tree"
unlinked(TREE)
exchanged(TREE)
deep(TREE)
changed_below(TREE)
if os.environ.get("MAY_MOUNT"):
    mounted_over(TREE)
in_threads(8, burst)
in_threads(4, lambda number: client(MNT, number, int(os.environ.get("ROUNDS", "200"))))
