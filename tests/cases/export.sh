#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# File handles of clients outlive FORGET, unmount and the daemon; those of removed files are stale.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
# on a machine where the source cannot be exported, the daemon says so
if ! "$SLUICEFS" passthrough --export --run true "$SRC" "$MNT" 2>"$CASE_DIR/said"; then
    grep -q 'cannot use file handles of the source' "$CASE_DIR/said" || fail "$(cat "$CASE_DIR/said")"
    skip "$(cat "$CASE_DIR/said")"
fi

cat >"$CASE_DIR/handles.py" <<'PYTHON'
AT_SYMLINK_FOLLOW, SIZE = 0x400, 128
_libc.name_to_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
_libc.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]


def handle_of(path):
    room = ctypes.create_string_buffer(struct.pack("Ii", SIZE, 0), 8 + SIZE)
    mount = ctypes.c_int()
    _call("name_to_handle_at", -100, os.fsencode(path), room, ctypes.byref(mount), 0)
    return bytes(room)[:8 + struct.unpack("I", bytes(room)[:4])[0]]


def open_handle(mnt, handle, flags=os.O_RDONLY):
    top = os.open(mnt, os.O_RDONLY)
    try:
        room = ctypes.create_string_buffer(handle, len(handle))
        fd = _libc.open_by_handle_at(top, room, flags)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return fd
    finally:
        os.close(top)


def becomes_stale(mnt, handle):
    """At once, or when the kernel has sent the last RELEASE."""
    deadline = time.monotonic() + 60
    while True:
        try:
            os.close(open_handle(mnt, handle))
        except OSError as error:
            equal(error.errno, errno.ESTALE)
            return
        assert time.monotonic() < deadline, "not stale"
        time.sleep(0.05)
PYTHON
handles() {
    PYTHONPATH=$TESTS/cases PYTHONDONTWRITEBYTECODE=1 python3 -c '
import sys
from check import *
from check import _call, _libc
exec(compile(open(sys.argv[1]).read(), "handles", "exec"))
exec(compile(sys.stdin.read(), "case", "exec"))' "$CASE_DIR/handles.py" "$MNT" "$SRC" "$CASE_DIR/kept"
}

mount_passthrough --export
handles <<'PYTHON'
mnt, src, kept = sys.argv[2:]
os.makedirs(mnt + "/a/b/c")
for name in ("file", "removed", "replaced", "moved"):
    write_file(f"{mnt}/a/b/c/{name}", name.encode())
os.symlink("file", mnt + "/a/link")
names = ["a/b/c/file", "a/b/c", "a", "a/b/c/removed", "a/b/c/replaced", "a/b/c/moved", "a/link", ""]
with open(kept, "wb") as out:
    for name in names:
        handle = handle_of(mnt + "/" + name)
        os.close(open_handle(mnt, handle, os.O_PATH))
        out.write(struct.pack("I", len(handle)) + handle)
PYTHON
for round in 'forgotten' 'mounted again'; do
    unmount
    mount_passthrough --export "$([ "$round" = forgotten ] && echo --inode-handles=never || echo --inode-handles=always)"
    note "$round"
    handles <<'PYTHON'
mnt, src, kept = sys.argv[2:]
data = read_file(kept)
handles = []
while data:
    (length,) = struct.unpack_from("I", data)
    handles.append(data[4:4 + length])
    data = data[4 + length:]
file, inner, outer, removed, replaced, moved, link, root = handles

# Nothing has been looked up in this mount: the files come from the handles alone.
fd = open_handle(mnt, file)
equal(os.read(fd, 100), b"file")
equal(os.fstat(fd).st_ino, os.stat(src + "/a/b/c/file").st_ino)
os.close(fd)
fd = open_handle(mnt, file, os.O_RDWR)
os.pwrite(fd, b"FILE", 0)
os.close(fd)
equal(read_file(src + "/a/b/c/file"), b"FILE")
os.truncate(src + "/a/b/c/file", 0)
write_file(src + "/a/b/c/file", b"file")

# Gone, another file under its name, another name.
if os.path.exists(src + "/a/b/c/removed"):
    os.unlink(src + "/a/b/c/removed")
    os.unlink(src + "/a/b/c/replaced")
    write_file(src + "/a/b/c/replaced", b"other")
    os.rename(src + "/a/b/c/moved", src + "/a/elsewhere")
expect_errno(errno.ESTALE, open_handle, mnt, removed)
expect_errno(errno.ESTALE, open_handle, mnt, replaced)
fd = open_handle(mnt, moved)
equal(os.read(fd, 100), b"moved")
os.close(fd)

# A directory is connected: its path is known, and it is the one that names lead to.
fd = open_handle(mnt, inner, os.O_RDONLY | os.O_DIRECTORY)
equal(os.readlink(f"/proc/self/fd/{fd}"), mnt + "/a/b/c")
equal(sorted(os.listdir(fd)), ["file", "replaced"])
equal(os.stat("..", dir_fd=fd).st_ino, os.stat(src + "/a/b").st_ino)
equal(os.fstat(fd).st_ino, os.stat(mnt + "/a/b/c").st_ino)
os.close(fd)
fd = open_handle(mnt, outer, os.O_PATH)
equal(os.stat("..", dir_fd=fd).st_ino, os.stat(mnt).st_ino)
os.close(fd)
fd = open_handle(mnt, root, os.O_PATH)
equal(os.fstat(fd).st_ino, os.stat(mnt).st_ino)
os.close(fd)
fd = open_handle(mnt, link, os.O_PATH | os.O_NOFOLLOW)
equal(os.readlink("", dir_fd=fd), "file")
os.close(fd)

# Handles that nobody gave out are refused or stale.
for i in range(8, len(file)):
    for bit in (1, 128):
        wrong = bytearray(file)
        wrong[i] ^= bit
        try:
            os.close(open_handle(mnt, bytes(wrong), os.O_PATH))
        except OSError as error:
            assert error.errno in (errno.ESTALE, errno.EINVAL), error
equal(os.stat(mnt + "/a/elsewhere").st_size, 5)

# Many at once, from several threads, with forgetting in between.
names = [f"{mnt}/a/many-{i}" for i in range(200)]
for name in names:
    write_file(name, name.encode())
many = [(name, handle_of(name)) for name in names]


def open_all():
    for name, handle in many:
        fd = open_handle(mnt, handle)
        equal(os.read(fd, 4096), name.encode())
        os.close(fd)


threads = [threading.Thread(target=open_all) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for name in names:
    os.unlink(name)
for name, handle in many:
    becomes_stale(mnt, handle)
PYTHON
done
unmount

# Without it a handle is only an identification, or good as long as the kernel remembers.
mount_passthrough
handles <<'PYTHON'
mnt, src, kept = sys.argv[2:]
data = read_file(kept)
(length,) = struct.unpack_from("I", data)
expect_errno((errno.ESTALE, errno.EOPNOTSUPP), open_handle, mnt, data[4:4 + length])
PYTHON
unmount

# A file that is outside of the source, in the same file system: directories are refused.
mkdir "$SRC/inside" "$SRC/outside" "$CASE_DIR/all"
mount_passthrough_at "$SRC" "$CASE_DIR/all" --export
handles <<PYTHON
write_file("$CASE_DIR/dir-handle", handle_of("$CASE_DIR/all/outside"))
write_file("$CASE_DIR/dir-handle-2", handle_of("$CASE_DIR/all/inside"))
PYTHON
unmount "$CASE_DIR/all"
mount_passthrough_at "$SRC/inside" "$MNT" --export
handles <<PYTHON
expect_errno(errno.ESTALE, open_handle, "$MNT", read_file("$CASE_DIR/dir-handle"), os.O_PATH)
PYTHON
unmount
