#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A large asynchronous append with O_DIRECT keeps its order; a single write with RWF_DSYNC is on
# the disk.
. "$(dirname "$0")/functions.sh"

mount_passthrough --cache=none
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
MiB = 1 << 20

# Append by asynchronous I/O, which the kernel sends in parts of 1 MiB side by side.
libaio = ctypes.CDLL("libaio.so.1")
context = ctypes.c_void_p()
equal(libaio.io_setup(1, ctypes.byref(context)), 0)
fd = os.open(mnt + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DIRECT)
expected = b""
for turn in range(4):
    buffer = mmap.mmap(-1, 8 * MiB)
    buffer[:] = b"".join(bytes([turn * 16 + i]) * MiB for i in range(8))
    expected += buffer[:]
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    control = ctypes.create_string_buffer(
        struct.pack("QIIHHIQQqQII", 0, 0, 0, 1, 0, fd, address, 8 * MiB, 0, 0, 0, 0))
    controls = (ctypes.c_void_p * 1)(ctypes.addressof(control))
    event = (ctypes.c_int64 * 4)()
    equal(libaio.io_submit(context, 1, controls), 1)
    equal(libaio.io_getevents(context, 1, 1, event, None), 1)
    equal(event[2], 8 * MiB, "bytes appended")
os.close(fd)
equal(read_file(src + "/log") == expected, True, "the parts are in their order")

# cachestat(2) of the source tells what is dirty.
_libc = ctypes.CDLL(None, use_errno=True)


def dirty_pages(path):
    fd = os.open(path, os.O_RDONLY)
    what, answer = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    result = _libc.syscall(451, fd, what, answer, 0)
    os.close(fd)
    return answer[1] if result == 0 else 0


fd = os.open(mnt + "/file", os.O_WRONLY | os.O_CREAT)
for flag in os.RWF_DSYNC, os.RWF_SYNC:
    equal(os.pwritev(fd, [b"d" * 8192], 0, flag), 8192)
    equal(dirty_pages(src + "/file"), 0, "dirty pages")
os.close(fd)
PYTHON
unmount
