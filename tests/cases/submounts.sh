#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# File systems mounted below the source are shown with inode numbers of their own, or refused;
# names do not move between them; a mount of its own over one gives it a device of its own.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
mkdir "$SRC/sub" "$SRC/dir"
mount -t tmpfs -o size=4m none "$SRC/sub"
trap 'umount -l "$SRC/sub" "$SRC/dir/sub" 2>/dev/null || true' EXIT
mkdir "$SRC/dir/sub"
mount -t tmpfs -o size=4m none "$SRC/dir/sub"

mount_passthrough
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
# Two file systems of a kind count alike: the same numbers again and again.
for place in ("sub", "dir/sub", "dir"):
    for i in range(20):
        write_file(f"{mnt}/{place}/{i}", place.encode())
below, shown = {}, {}
for base, names, files in os.walk(src):
    for name in names + files:
        path = os.path.relpath(os.path.join(base, name), src)
        st = os.lstat(os.path.join(src, path))
        below[path] = (st.st_dev, st.st_ino)
        st = os.lstat(os.path.join(mnt, path))
        shown[path] = (st.st_dev, st.st_ino)
assert len({ino for _, ino in below.values()}) < len(below), "no number twice below: no proof"
equal(len(set(shown.values())), len(shown), "numbers shown")
equal(shown["dir/3"][1], below["dir/3"][1], "number on the source's own file system")

# As below: nothing is moved or linked across, and a mount point is busy.
for call in (os.rename, os.link):
    expect_errno(errno.EXDEV, call, mnt + "/sub/1", mnt + "/moved")
    expect_errno(errno.EXDEV, call, mnt + "/dir/1", mnt + "/sub/moved")
    expect_errno(errno.EXDEV, call, mnt + "/sub/1", mnt + "/dir/sub/moved")
expect_errno(errno.EBUSY, os.rmdir, mnt + "/sub")
expect_errno(errno.EBUSY, os.rename, mnt + "/sub", mnt + "/renamed")
os.rename(mnt + "/sub/1", mnt + "/sub/moved")
equal(read_file(src + "/sub/moved"), b"sub")
PYTHON

# One mount shows one device, so a walk that stays on a device enters; a second mount over the
# directory is a border.
count() {
    find "$MNT" "$@" -name '1*' | wc -l
}
assert_eq "$(count)" "$(count -xdev)" 'names found with -xdev'
all=$(count)
mount_passthrough_at "$SRC/sub" "$MNT/sub"
assert_eq "$(count)" "$all" 'names found below both mounts'
assert_eq "$(count -xdev)" $((all - 10)) 'names found on the first mount'
[ "$(stat -c %d "$MNT")" != "$(stat -c %d "$MNT/sub")" ] || fail "one device for two mounts"
du -x "$MNT" >"$CASE_DIR/du"
! grep -q '/mnt/sub/' "$CASE_DIR/du" || fail "du -x entered the second mount"
unmount "$MNT/sub"
unmount

# Refused: seen, and not entered.
mount_passthrough --xdev=deny
assert_eq "$(ls "$MNT")" $'dir\nsub'
expect_fail 'Invalid cross-device link' ls "$MNT/sub"
expect_fail 'Invalid cross-device link' touch "$MNT/dir/sub/new"
assert_eq "$(cat "$MNT/dir/2")" dir
assert_eq "$({ find "$MNT/dir" -type f 2>/dev/null || true; } | wc -l)" 20 'files beside the refused mount'
unmount
