#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount that is mounted once more with mapped ids: files belong to the mapped users.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command unshare
chmod 755 "$CASE_DIR"
mkdir "$CASE_DIR/mapped"
mount_passthrough -o allow_other --idmap
trap 'umount -l "$CASE_DIR/mapped" 2>/dev/null || true' EXIT
status=0
python "$MNT" "$SRC" "$CASE_DIR/mapped" <<'PYTHON' || status=$?
mnt, src, mapped = sys.argv[1:]
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
AT_FDCWD, AT_EMPTY_PATH, OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = -100, 0x1000, 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_IDMAP = 4, 0x100000
libc = ctypes.CDLL(None, use_errno=True)


def system_call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# A user namespace in which 1000 is what the source has as 2000, and root what it has as 0.
holder = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
while os.readlink(f"/proc/{holder.pid}/ns/user") == os.readlink("/proc/self/ns/user"):
    time.sleep(0.01)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{holder.pid}/{name}", "w") as file:
        file.write("0 0 1\n2000 1000 10\n")
namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
try:
    tree = system_call(OPEN_TREE, AT_FDCWD, mnt.encode(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    attributes = struct.pack("QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
    system_call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes))
    system_call(MOVE_MOUNT, tree, b"", AT_FDCWD, mapped.encode(), MOVE_MOUNT_F_EMPTY_PATH)
except OSError as error:
    print("SKIP: the kernel has no id-mapped FUSE mounts:", error)
    sys.exit(77)
finally:
    holder.kill()
    holder.wait()


def ids(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def make(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def unnamed(path):
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR, 0o644)
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
    os.close(fd)


os.umask(0o022)
os.mkdir(mapped + "/dir")
os.chmod(mapped + "/dir", 0o777)
equal(ids(src + "/dir"), (0, 0))
for name, maker in (("file", make), ("sub", os.mkdir), ("fifo", os.mkfifo), ("tmp", unnamed),
                    ("link", lambda path: os.symlink("x", path))):
    path = "/dir/" + name
    equal(as_user(1000, maker, mapped + path), 0, name)
    equal(ids(mapped + path), (1000, 1000), name + " in the mapped mount")
    equal(ids(mnt + path), (2000, 2000), name + " in the mount")
    equal(ids(src + path), (2000, 2000), name + " in the source")

# Permissions go by the mapped ids.
write_file(src + "/dir/secret", b"x")
os.chown(src + "/dir/secret", 2001, 2001)
os.chmod(src + "/dir/secret", 0o600)
equal(as_user(1001, read_file, mapped + "/dir/secret"), 0)
equal(as_user(2001, read_file, mapped + "/dir/secret"), errno.EACCES)
equal(as_user(2001, read_file, mnt + "/dir/secret"), 0)
os.chown(mapped + "/dir/file", 1002, 1002)
equal(ids(src + "/dir/file"), (2002, 2002))
# One whom the mapping does not know creates nothing.
equal(as_user(5000, make, mapped + "/dir/nobody"), errno.EOVERFLOW)
assert not os.path.exists(src + "/dir/nobody")


# What depends on the caller without saying who that is: in both mounts.
def punch(path):
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096)
    os.close(fd)


for top, user, owner in ((mnt, 1000, 1000), (mapped, 1000, 2000)):
    for uid, expected in ((0, 0o6777), (user, 0o777)):
        name = f"/setid-{owner}-{uid}"
        write_file(src + name, b"x" * 8192)
        os.chown(src + name, owner, owner)
        os.chmod(src + name, 0o6777)
        equal(as_user(uid, punch, top + name), 0)
        equal(stat.S_IMODE(os.stat(src + name).st_mode), expected, f"mode after {uid} in {top}")
PYTHON
umount "$CASE_DIR/mapped" 2>/dev/null || true
unmount
exit "$status"
