#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Files belong to the client that makes them; modes, groups, sticky and set-group-id directories
# and the umask are honoured as on the store.
. "$(dirname "$0")/functions.sh"

require_root
require_command setpriv
chmod 755 "$CASE_DIR"
mount_passthrough -o allow_other
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]


def who(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)


def make(path, mode=0o666):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode))


def append(path):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


os.mkdir(mnt + "/open")
os.chmod(mnt + "/open", 0o777)
os.mkdir(mnt + "/closed", 0o700)
os.mkdir(mnt + "/sticky")
os.chmod(mnt + "/sticky", 0o1777)
os.mkdir(mnt + "/group")
os.chown(mnt + "/group", 0, 3000)
os.chmod(mnt + "/group", 0o2775)

# Owners and the umask.
os.umask(0o027)
equal(as_user(1000, make, mnt + "/open/file"), 0)
equal(who(src + "/open/file"), (1000, 1000, 0o640))
equal(as_user(1000, os.mkdir, mnt + "/open/dir"), 0)
equal(who(src + "/open/dir"), (1000, 1000, 0o750))
equal(as_user(1000, os.symlink, "x", mnt + "/open/link"), 0)
equal(who(src + "/open/link")[:2], (1000, 1000))
equal(as_user(1000, os.mkfifo, mnt + "/open/fifo"), 0)
equal(who(src + "/open/fifo"), (1000, 1000, 0o640))

# What others may not do.
equal(as_user(1001, append, mnt + "/open/file"), errno.EACCES)
equal(as_user(1001, os.listdir, mnt + "/closed"), errno.EACCES)
equal(as_user(1001, make, mnt + "/closed/file"), errno.EACCES)
equal(as_user(1001, os.chmod, mnt + "/open/file", 0o777), errno.EPERM)
equal(as_user(1000, os.chown, mnt + "/open/file", 1001, 1000), errno.EPERM)

# Supplementary groups: entering, creating, giving a file to one of them.
equal(as_user(1000, make, mnt + "/group/denied"), errno.EACCES)
equal(as_user(1000, make, mnt + "/group/file", groups=[3000]), 0)
equal(who(src + "/group/file"), (1000, 3000, 0o640), "group of a set-group-id directory")
equal(as_user(1000, os.mkdir, mnt + "/group/dir", groups=[3000]), 0)
equal(who(src + "/group/dir"), (1000, 3000, 0o2750))
equal(as_user(1000, os.chown, mnt + "/open/file", -1, 3000, groups=[3000]), 0)
equal(as_user(1000, os.chown, mnt + "/open/file", -1, 4000), errno.EPERM)

# Sticky.
equal(as_user(1000, make, mnt + "/sticky/file"), 0)
equal(as_user(1001, os.unlink, mnt + "/sticky/file"), errno.EPERM)
equal(as_user(1001, os.rename, mnt + "/sticky/file", mnt + "/sticky/x"), errno.EPERM)
equal(as_user(1000, os.unlink, mnt + "/sticky/file"), 0)

# Set-id bits go when another writes, truncates or gives the file away.
def suid_file(name):
    path = mnt + "/open/" + name
    write_file(path, b"#!")
    os.chmod(path, 0o6777)
    return path


def write_to(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"x")
    os.close(fd)


path = suid_file("suid-write")
equal(as_user(1000, write_to, path), 0)
equal(who(src + "/open/suid-write")[2], 0o777, "mode after another's write")
for name, groups, expected in (("member", [3000], 0o2766), ("stranger", [4000], 0o766)):
    path = suid_file("sgid-" + name)
    os.chown(path, 0, 3000)
    os.chmod(path, 0o2766)  # the group may not execute it
    equal(as_user(1000, write_to, path, groups=groups), 0)
    equal(who(src + "/open/sgid-" + name)[2], expected, "mode after the write of a " + name)
path = suid_file("suid-truncate")
equal(as_user(1000, os.truncate, path, 0), 0)
equal(who(src + "/open/suid-truncate")[2], 0o777, "mode after another's truncate")
path = suid_file("suid-chown")
os.chown(path, 1000, 1000)
equal(who(src + "/open/suid-chown")[2], 0o777, "mode after chown")

# access(2).
equal(as_user(1000, lambda: equal(os.access(mnt + "/open", os.W_OK), True)), 0)
equal(as_user(1001, lambda: equal(os.access(mnt + "/closed", os.R_OK), False)), 0)
PYTHON
unmount
