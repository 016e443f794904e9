#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With NOTIFY_SOCKET set the daemon tells the service manager READY=1 once it serves, and
# STOPPING=1 when it ends.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

python "$SLUICEFS" "$SRC" "$MNT" "$CASE_DIR/notify" <<'PYTHON'
import socket

sluicefs, src, mnt, path = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(path)
listener.settimeout(30)
daemon = subprocess.Popen([sluicefs, "passthrough", src, mnt, "-f"], env={**os.environ, "NOTIFY_SOCKET": path})
said = b""
while b"READY=1" not in said:
    said += listener.recv(4096) + b"\n"
assert os.path.ismount(mnt), "READY=1 before the mount"
write_file(mnt + "/file", b"served")
daemon.send_signal(signal.SIGTERM)
while b"STOPPING=1" not in said:
    said += listener.recv(4096) + b"\n"
equal(daemon.wait(30), 0)
PYTHON
