# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the Python parts of cases share; imported by python() of functions.sh."""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import traceback

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE_RANGE = 1, 2, 8
FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE = 16, 32

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    if getattr(_libc, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def others_want_cpus():
    """Whether a program that computes does not get all of each CPU that this one may use."""
    cpus = os.sched_getaffinity(0)
    least = 1.0
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        began, used = time.monotonic(), time.process_time()
        while time.monotonic() < began + 0.2:
            pass
        least = min(least, (time.process_time() - used) / (time.monotonic() - began))
    os.sched_setaffinity(0, cpus)
    print(f"a program gets {least:.0%} of a CPU here")
    return least < 0.8


def rename2(old, new, flags):
    """renameat2(2)."""
    at_fdcwd = -100
    _call("renameat2", at_fdcwd, os.fsencode(old), at_fdcwd, os.fsencode(new), flags)


def fallocate(fd, mode, offset, length):
    """fallocate(2)."""
    _call("fallocate", fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))


def expect_errno(code, function, *arguments, **keywords):
    """The call fails with this errno (or one of a tuple)."""
    codes = code if isinstance(code, tuple) else (code,)
    names = [errno.errorcode[c] for c in codes]
    try:
        result = function(*arguments, **keywords)
    except OSError as error:
        if error.errno not in codes:
            raise AssertionError(f"{error}, expected {names}") from error
        return
    raise AssertionError(f"{function.__name__}{arguments} returned {result!r}, expected {names}")


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def equal(actual, expected, what="value"):
    assert actual == expected, f"{what}: got {actual!r}, expected {expected!r}"


def until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.01)


def as_user(uid, function, *arguments, gid=None, groups=()):
    """
    Call it in a child with this user id, the group of the same number (or gid) and groups; returns
    the errno of its OSError, or its result where that is a number, or 0.
    """
    gid = uid if gid is None else gid
    child = os.fork()
    if child == 0:
        status = 255
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            result = function(*arguments)
            status = result if isinstance(result, int) else 0
        except OSError as error:
            status = error.errno
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
