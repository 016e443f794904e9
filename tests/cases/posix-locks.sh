#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fcntl locks exclude, wait, are found by F_GETLK, end with their process, and deadlocks are
# refused; locks=remote shares them with users of the source.
. "$(dirname "$0")/functions.sh"

cat >"$CASE_DIR/locks.py" <<'PYTHON'
path, other = sys.argv[1] + "/file", sys.argv[2] + "/file"


def lock(fd, kind, start=0, length=0, wait=False):
    request = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
    return fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, request)


def in_child(function):
    """Run it in a child process, return its exit status."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = function() or 0
        finally:
            os._exit(status)
    return child


def status_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def try_lock(where, kind, start, length):
    def attempt():
        fd = os.open(where, os.O_RDWR)
        try:
            lock(fd, kind, start, length)
        except OSError as error:
            return error.errno
        return 0
    return status_of(in_child(attempt))


write_file(path, b"x" * 1000)
fd = os.open(path, os.O_RDWR)
lock(fd, fcntl.F_WRLCK, 0, 100)
assert try_lock(path, fcntl.F_WRLCK, 50, 10) in (errno.EAGAIN, errno.EACCES)
equal(try_lock(path, fcntl.F_WRLCK, 100, 10), 0)
lock(fd, fcntl.F_RDLCK, 0, 100)
equal(try_lock(path, fcntl.F_RDLCK, 50, 10), 0)
assert try_lock(path, fcntl.F_WRLCK, 50, 10) in (errno.EAGAIN, errno.EACCES)
if sys.argv[3] == "remote":
    assert try_lock(other, fcntl.F_WRLCK, 50, 10) in (errno.EAGAIN, errno.EACCES)


def who():
    mine = os.open(path, os.O_RDWR)
    answer = fcntl.fcntl(mine, fcntl.F_GETLK,
                         struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, start, length, pid = struct.unpack("hhqqi4x", answer)
    return 0 if (kind, start, length) == (fcntl.F_RDLCK, 0, 100) else 1


equal(status_of(in_child(who)), 0, "F_GETLK")


def waits():
    lock(os.open(path, os.O_RDWR), fcntl.F_WRLCK, 0, 100, wait=True)


child = in_child(waits)
time.sleep(0.5)
equal(os.waitpid(child, os.WNOHANG), (0, 0), "a waiter that must wait")
lock(fd, fcntl.F_UNLCK, 0, 0)
equal(status_of(child), 0)

# The locks of a killed process are gone.
ready, ready_in = os.pipe()


def holds():
    lock(os.open(path, os.O_RDWR), fcntl.F_WRLCK)
    os.write(ready_in, b"x")
    time.sleep(60)


child = in_child(holds)
os.read(ready, 1)
assert try_lock(path, fcntl.F_WRLCK, 0, 1) in (errno.EAGAIN, errno.EACCES)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
equal(try_lock(path, fcntl.F_WRLCK, 0, 1), 0)
os.close(fd)
PYTHON
for locks in local remote; do
    note "locks=$locks"
    mount_passthrough -o locks=$locks
    python "$MNT" "$SRC" $locks <"$CASE_DIR/locks.py"
    unmount
done
