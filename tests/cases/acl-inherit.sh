#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Whatever way a file is made, it gets mode, umask, default ACL and group as on the store itself.
#
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
require_command setfacl
setfacl -m u:1000:r "$SRC" 2>/dev/null && setfacl -b "$SRC" || skip "no ACLs in $SRC"
chmod 755 "$CASE_DIR"
mount_passthrough -o allow_other

for side in "$SRC/below" "$MNT/through"; do
    mkdir "$side"
    mkdir -m 777 "$side/plain" "$side/inherit" "$side/group"
    setfacl -d -m u::rwx,u:1001:rwx,g::r-x,o::--- "$side/inherit"
    chown 0:3000 "$side/group"
    chmod 2777 "$side/group"
done
python "$SRC/below" "$MNT/through" "$SRC/through" <<'PYTHON'
below, through, stored = sys.argv[1:]
O_TMPFILE = os.O_TMPFILE


def opened(path, mode):
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, mode))


def unnamed(path, mode):
    """O_TMPFILE, then a name for it: the fifth way, and link(2)."""
    fd = os.open(os.path.dirname(path), O_TMPFILE | os.O_RDWR, mode)
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
    os.close(fd)


def node(path, mode):
    os.mknod(path, stat.S_IFREG | mode)


def symlink(path, mode):
    os.symlink("target", path)


def linked(path, mode):
    opened(path, mode)
    os.link(path, path + "-2")


MAKERS = [opened, unnamed, node, os.mkfifo, os.mkdir, symlink, linked]
USERS = [
    (0, 0, []),
    (1000, 1000, []),
    (1000, 3000, []),
    (1000, 1000, [3000]),
    (1000, 1000, [3000, 4000]),
    (1000, 1000, [4000]),
]


def make_as_caller(top, number):
    """With several umasks and modes, by every maker, in every directory."""
    for directory in ("plain", "inherit", "group"):
        for mask in (0, 0o22, 0o77):
            os.umask(mask)
            for mode in (0o666, 0o2775, 0o6711, 0o400):
                for maker in MAKERS:
                    name = f"{number}-{mask:o}-{mode:o}-{maker.__name__}"
                    maker(f"{top}/{directory}/{name}", mode)


def make_all(top):
    for number, (uid, gid, groups) in enumerate(USERS):
        equal(as_user(uid, make_as_caller, top, number, gid=gid, groups=groups), 0,
              f"user {uid} in {top}")


def acl(path):
    def value(name):
        try:
            return os.getxattr(path, "system.posix_acl_" + name, follow_symlinks=False)
        except OSError:
            return None
    return None if os.path.islink(path) else (value("access"), value("default"))


def describe(top):
    found = {}
    for directory, _, _ in os.walk(top):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            found[os.path.relpath(path, top)] = (
                stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_nlink, acl(path))
    return found


make_all(below)
make_all(through)
expected, shown, found = describe(below), describe(through), describe(stored)
equal(len(expected), 3 + len(USERS) * 3 * 3 * 4 * (len(MAKERS) + 1), "files made")
for path, what in expected.items():
    equal(found.get(path), what, path)
    equal(shown.get(path), what, path + " as the client sees it")
PYTHON
unmount
