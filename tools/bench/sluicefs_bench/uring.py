# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the kernel offers FUSE over io_uring to the mount that is being made.

It is a parameter of the module fuse, for the whole machine, which the kernel reads when a
connection begins. So it is set for the time of mounting only, and put back; the lock is the one
that the project's tests take.
"""
import contextlib
import fcntl

from .errors import CandidateError

PARAMETER = "/sys/module/fuse/parameters/enable_uring"
LOCK = "/tmp/fuse-param.lock"


def _read():
    with open(PARAMETER, encoding="ascii") as file:
        return file.read().strip()


def _write(value):
    with open(PARAMETER, "w", encoding="ascii") as file:
        file.write(value)


def available():
    """Whether this kernel knows the parameter."""
    try:
        return _read() in ("Y", "N")
    except OSError:
        return False


@contextlib.contextmanager
def offered(wanted):
    """A context in which the kernel offers it to new mounts (wanted), or does not."""
    if not available():
        if wanted:
            raise CandidateError("this kernel has no FUSE over io_uring")
        yield
        return
    value = "Y" if wanted else "N"
    with open(LOCK, "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read()
        try:
            if before != value:
                _write(value)
            if _read() != value:
                raise CandidateError(f"{PARAMETER} cannot be set to {value}")
            yield
        finally:
            if before != value:
                _write(before)
