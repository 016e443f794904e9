#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Without file handles more files are known than descriptors allowed: those not in use are closed and found
# again by name, and never is a wrong file served. On a source with handles that the daemon may not
# open, on overlayfs and on a FUSE mount. FILES=4000 ROUNDS=2000: more than the suite's.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

SCRIPT=$(dirname "$(readlink -f "$0")")/inode-descriptors.py
OPTIONS_OF_TIMES=attr_timeout=0,entry_timeout=600
LIMIT=128

counter() {
    "$SLUICEFS" stats --json "$MNT" | sed -n "s/^ *\"$1\" *: *\"*\([0-9]*\)\"*,*$/\1/p"
}

# use_files SOURCE FILES: on the mount, which ends.
use_files() {
    local files=$2 name
    timeout $((100 * CASE_SCALE)) python3 "$SCRIPT" "$MNT" "$1" "$files" || fail "see above"
    for name in inodes descriptors descriptors_closed descriptors_reopened descriptors_stale; do
        note "$name $(counter $name)"
    done
    [ "$(counter descriptors)" -lt "$LIMIT" ] || fail "more descriptors than the limit"
    [ "$(counter descriptors_reopened)" -gt 0 ] || fail "none was closed and opened again"
    unmount
}

if [ "$(id -u)" -eq 0 ]; then
    mkdir "$CASE_DIR/over" "$CASE_DIR/low" "$CASE_DIR/up" "$CASE_DIR/work"
    trap 'umount -l "$CASE_DIR/over" "$SRC/mount" 2>/dev/null || true' EXIT
    mount -t overlay -o "lowerdir=$CASE_DIR/low,upperdir=$CASE_DIR/up,workdir=$CASE_DIR/work" \
        overlay "$CASE_DIR/over" || note "no overlayfs here"
    export MAY_MOUNT=yes
fi
mkdir "$CASE_DIR/fuse" "$CASE_DIR/fuse-source"
mount_passthrough_at "$CASE_DIR/fuse-source" "$CASE_DIR/fuse"

ulimit -n $LIMIT
mount_passthrough --inode-handles=never -o "$OPTIONS_OF_TIMES"
use_files "$SRC" "${FILES:-400}"
unset MAY_MOUNT

note "files that are open, and renamed by others"
mount_passthrough --inode-handles=never --passthrough-io=off -o attr_timeout=0.2,entry_timeout=600
timeout $((100 * CASE_SCALE)) python3 - "$MNT" "$SRC" <<'PYTHON' || fail "see above"
import os, sys, time

mnt, src = sys.argv[1:]
for directory, _, files in os.walk(f"{mnt}/renamed/tree"):
    for name in files:
        os.stat(f"{directory}/{name}")
os.mkdir(f"{mnt}/opened")
for number in range(100):  # those of others keep their descriptors: soon there is only the newest to close
    fd = os.open(f"{mnt}/opened/{number}", os.O_RDWR | os.O_CREAT)
    os.rename(f"{src}/opened/{number}", f"{src}/opened/away{number}")
    if number % 10 == 0:
        opened = []
    opened.append((number, fd))
    if number % 10 == 9:
        time.sleep(0.25)  # what the kernel knows of them is old then
        for number, fd in opened:
            os.fchmod(fd, 0o600)
            assert os.fstat(fd).st_mode & 0o777 == 0o600, number
            os.write(fd, b"%d" % number)
            assert os.pread(fd, 10, 0) == b"%d" % number, number
            os.close(fd)
PYTHON

if printf '%s\n' 6.18 "$(uname -r)" | sort -VC; then
    note "new files, renamed by others, beside open ones: there is room only if the kernel forgets"
    timeout $((100 * CASE_SCALE)) python3 - "$MNT" "$SRC" <<'PYTHON' || fail "see above"
import os, sys

mnt, src = sys.argv[1:]
os.mkdir(f"{mnt}/new")
new = os.open(f"{mnt}/new", os.O_RDONLY)
try:
    os.close(os.open(src, os.O_WRONLY | os.O_TMPFILE))
    unnamed = True
except OSError:
    unnamed = False  # the source has no such files
held = [os.open(f"{mnt}/new/held{number}", os.O_RDWR | os.O_CREAT) for number in range(30)]
os.mkdir("used", dir_fd=new)
used = os.open("used", os.O_PATH, dir_fd=new)  # the kernel keeps it, and it is not open
os.rename(f"{src}/new/used", f"{src}/new/awayused")
for number in range(300):
    os.close(os.open(f"{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=new))
    os.link(f"{number}", f"link{number}", src_dir_fd=new, dst_dir_fd=new)
    os.mkdir(f"made{number}", dir_fd=new)
    os.makedirs(f"{src}/new/directory{number}/below")
    assert os.listdir(f"{mnt}/new/directory{number}") == ["below"]
    os.symlink("target", f"symlink{number}", dir_fd=new)
    os.mkfifo(f"fifo{number}", dir_fd=new)
    os.close(os.open(f"{number}", os.O_RDWR, dir_fd=new))
    if unnamed:
        os.close(os.open(f"{mnt}/new", os.O_WRONLY | os.O_TMPFILE))
    for name in ("", "link", "made", "directory", "symlink", "fifo"):
        os.rename(f"{src}/new/{name}{number}", f"{src}/new/away{name}{number}")
for fd in [new, used, *held]:
    os.close(fd)
PYTHON
fi
unmount

if is_mounted "$CASE_DIR/over"; then
    mount_passthrough_at "$CASE_DIR/over" "$MNT" -o "$OPTIONS_OF_TIMES"
    use_files "$CASE_DIR/over" "${FILES:-200}"
    umount "$CASE_DIR/over"
fi
mount_passthrough_at "$CASE_DIR/fuse" "$MNT" -o "$OPTIONS_OF_TIMES"
use_files "$CASE_DIR/fuse" "${FILES:-200}"
unmount "$CASE_DIR/fuse"
