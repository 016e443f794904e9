#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# FIFOs, sockets and device nodes are made, seen and used by clients; opening a FIFO never blocks
# the daemon.
. "$(dirname "$0")/functions.sh"

mount_passthrough
mkfifo "$MNT/fifo"
cat "$MNT/fifo" >"$CASE_DIR/read" &
reader=$!
sleep 0.3
echo 'the daemon goes on' >"$MNT/file"
echo through >"$MNT/fifo"
wait $reader
assert_eq "$(cat "$CASE_DIR/read")" through
python "$MNT" "$SRC" <<'PYTHON'
import socket

mnt, src = sys.argv[1:]
os.chdir(mnt)
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
client.send(b"hello")
equal(server.accept()[0].recv(10), b"hello")
assert stat.S_ISSOCK(os.lstat(src + "/socket").st_mode)
if os.geteuid() == 0:
    os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    equal(os.lstat(src + "/null").st_rdev, os.makedev(1, 3))
    os.mknod("block", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    assert stat.S_ISBLK(os.lstat(src + "/block").st_mode)
os.mknod("plain", 0o640 | stat.S_IFREG)
equal(os.stat("plain").st_size, 0)
# FIFOs of the source that nobody serves: a client that does not wait does not wait.
os.mkfifo(src + "/lonely")
expect_errno(errno.ENXIO, os.open, "lonely", os.O_WRONLY | os.O_NONBLOCK)
os.close(os.open("lonely", os.O_RDONLY | os.O_NONBLOCK))
PYTHON
unmount
