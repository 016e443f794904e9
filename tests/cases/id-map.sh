#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Owners differ between mount and source as --uidmap, --gidmap and --squash say: shown, created,
# given away, in ACLs; who has no counterpart owns nothing.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
chmod 755 "$CASE_DIR"
mount_passthrough -o allow_other,uidmap='0:0:1 1000:2000:10' --gidmap=0:0:1,1000:3000:10
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
overflow = tuple(int(read_file(f"/proc/sys/kernel/overflow{kind}")) for kind in ("uid", "gid"))


def ids(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def make(path, mode=0o644):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))


def unnamed(path):
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR, 0o644)
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
    os.close(fd)


def write_to(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"x")
    os.close(fd)


os.umask(0o022)
os.mkdir(mnt + "/dir")
os.chmod(mnt + "/dir", 0o777)
equal(ids(src + "/dir"), (0, 0))
for name, maker in (("file", make), ("sub", os.mkdir), ("fifo", os.mkfifo), ("tmp", unnamed),
                    ("link", lambda path: os.symlink("x", path))):
    path = "/dir/" + name
    equal(as_user(1000, maker, mnt + path), 0, name)
    equal(ids(mnt + path), (1000, 1000), name + " in the mount")
    equal(ids(src + path), (2000, 3000), name + " in the source")
equal(as_user(1000, make, mnt + "/dir/file"), 0, "own file")
equal(as_user(2000, make, mnt + "/dir/nobody"), errno.EOVERFLOW)
equal(as_user(1000, make, mnt + "/dir/nobody", gid=5000), errno.EOVERFLOW)
equal(os.path.lexists(src + "/dir/nobody"), False)

# Shown by a listing, and together with the time of birth (statx).
os.mkdir(src + "/many")
for number in range(5):
    write_file(f"{src}/many/{number}", b"x")
    os.chown(f"{src}/many/{number}", 2000 + number, 3000 + number)
with os.scandir(mnt + "/many") as entries:
    for entry in entries:
        st = entry.stat()
        equal((st.st_uid, st.st_gid), (1000 + int(entry.name), 1000 + int(entry.name)))
equal(subprocess.check_output(["stat", "-c", "%W %u %g", mnt + "/many/3"]).split()[1:],
      [b"1003", b"1003"])

# Given away.
os.chown(mnt + "/dir/file", 1003, -1)
equal(ids(src + "/dir/file"), (2003, 3000))
for owner in ((1010, -1), (-1, 999), (2000, 3000), (65534, 65534)):
    expect_errno(errno.EOVERFLOW, os.chown, mnt + "/dir/file", *owner)
equal(ids(src + "/dir/file"), (2003, 3000))
os.chmod(mnt + "/dir/file", 0o600)
equal(as_user(1003, read_file, mnt + "/dir/file"), 0)
equal(as_user(2003, read_file, mnt + "/dir/file"), errno.EACCES)

# Owners without counterpart: nobody, not even the user of that name, and nothing is changed.
write_file(src + "/dir/foreign", b"x")
os.chmod(src + "/dir/foreign", 0o600)
os.chown(src + "/dir/foreign", 5000, 3000)
equal(ids(mnt + "/dir/foreign"), (overflow[0], 1000))
equal(as_user(overflow[0], read_file, mnt + "/dir/foreign"), errno.EACCES)
equal(as_user(overflow[0], os.chmod, mnt + "/dir/foreign", 0o666), errno.EOVERFLOW)
expect_errno(errno.EACCES, write_to, mnt + "/dir/foreign")
expect_errno(errno.EOVERFLOW, os.chmod, mnt + "/dir/foreign", 0o666)
os.chown(mnt + "/dir/foreign", 1001, -1)
equal(ids(src + "/dir/foreign"), (2001, 3000))
equal(as_user(1001, write_to, mnt + "/dir/foreign"), 0)

# Groups: of a set-group-id directory, and of one who writes to a set-group-id file.
os.mkdir(mnt + "/dir/group")
os.chown(mnt + "/dir/group", 0, 1005)
os.chmod(mnt + "/dir/group", 0o2775)
equal(as_user(1000, make, mnt + "/dir/group/file", groups=[1005]), 0)
equal(ids(src + "/dir/group/file"), (2000, 3005))
for groups, mode in (([1005], 0o2766), ([1006], 0o766)):
    name = f"/dir/sgid-{groups[0]}"
    write_file(src + name, b"x")
    os.chown(src + name, 0, 3005)
    os.chmod(src + name, 0o2766)
    equal(as_user(1000, write_to, mnt + name, groups=groups), 0)
    equal(stat.S_IMODE(os.stat(src + name).st_mode), mode, name)


# ACLs.
def acl(*entries):
    named = {(tag, number): permissions for tag, permissions, number in entries}
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, named[tag, number], number) for tag, number in sorted(named))


NONE = 2**32 - 1
def acl_of(user, group):
    return acl((1, 6, NONE), (2, 6, user), (4, 0, NONE), (8, 4, group), (16, 6, NONE), (32, 0, NONE))


path, below = mnt + "/dir/acl", src + "/dir/acl"
write_file(path, b"x")
try:
    os.setxattr(path, "system.posix_acl_access", acl_of(1004, 1005))
except OSError as error:
    equal(error.errno, errno.EOPNOTSUPP)
    print("no ACLs in the source")
    sys.exit(0)
equal(os.getxattr(below, "system.posix_acl_access"), acl_of(2004, 3005))
equal(os.getxattr(path, "system.posix_acl_access"), acl_of(1004, 1005))
equal(as_user(1004, write_to, path), 0)
equal(as_user(2004, write_to, path), errno.EACCES)
equal(as_user(1000, read_file, path, groups=[1005]), 0)
for bad in ((2004, 1005), (1004, 3005)):
    expect_errno((errno.EINVAL, errno.EOVERFLOW), os.setxattr, path, "system.posix_acl_access", acl_of(*bad))
os.setxattr(below, "system.posix_acl_access", acl_of(overflow[0], 3005))
os.chmod(path, 0o660)  # what the kernel knows of the list is old
shown = os.getxattr(path, "system.posix_acl_access")
assert struct.pack("<I", overflow[0]) not in shown, shown
equal(len(shown), len(acl_of(0, 0)) - 8)
equal(as_user(overflow[0], read_file, path), errno.EACCES)
os.setxattr(mnt + "/dir/sub", "system.posix_acl_default", acl_of(1004, 1005))
equal(os.getxattr(src + "/dir/sub", "system.posix_acl_default"), acl_of(2004, 3005))
make(mnt + "/dir/sub/heir", 0o666)
equal(os.getxattr(src + "/dir/sub/heir", "system.posix_acl_access"), acl_of(2004, 3005))
PYTHON
unmount

mount_passthrough -o allow_other,squash=root:1234:1235
touch "$MNT/by-root" "$MNT/given"
chown 1000:1000 "$MNT/given"
assert_eq "$(stat -c %u:%g "$SRC/by-root" "$MNT/by-root" "$SRC/given" | xargs)" \
    '1234:1235 1234:1235 1000:1000' 'squash=root'
chown 0:0 "$MNT/given"
assert_eq "$(stat -c %u:%g "$SRC/given")" 1234:1235 'given to root'
unmount
mount_passthrough -o allow_other --squash=all
mkdir "$MNT/by-anybody"
assert_eq "$(stat -c %u:%g "$SRC/by-anybody")" 65534:65534 'squash=all'
unmount

wrong() {
    expect_fail "$1" "$SLUICEFS" passthrough "$SRC" "$MNT" "${@:2}"
}
wrong "uidmap: '0:0' is not INSIDE:OUTSIDE:COUNT" --uidmap=0:0
wrong 'gidmap: .* overlap inside' -o 'gidmap=0:0:10 5:100:1'
wrong "squash: 'some' is neither root nor all" --squash=some
wrong 'idmap lets the kernel map ids' --idmap --squash=root
wrong 'only where it checks permissions' -o idmap,default_permissions=no
if is_mounted; then
    fail 'mounted in spite of a bad map'
fi
