#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# lsattr, chattr and a few other ioctls reach the store, no others do, and append-only files can be used.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command chattr lsattr setpriv
touch "$SRC/probe"
chattr +a "$SRC/probe" 2>/dev/null || skip "no inode flags in $SRC"
trap 'chattr -R -f -ai "$SRC" || true' EXIT # or the work directory cannot be removed
chattr -a "$SRC/probe"
chmod 755 "$CASE_DIR"

check_mount() {
    mount_passthrough -o allow_other "$@"
    python "$MNT" "$SRC" "$*" <<'PYTHON'
mnt, src, options = sys.argv[1:]
GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
FSGETXATTR, FSSETXATTR = 0x801C581F, 0x401C5820
GETFSLABEL, SETFSLABEL, FITRIM = 0x81009431, 0x41009432, 0xC0185879
GETVERSION, SHUTDOWN = 0x80087601, 0x8004587D
IMMUTABLE, APPEND, NODUMP, NOATIME = 0x10, 0x20, 0x40, 0x80
XFLAG_NODUMP = 0x80


def call(path, command, argument):
    """ioctl(2) on a descriptor of the path; the bytes it gave back, or the errno."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return fcntl.ioctl(fd, command, argument)
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)


def flags(path):
    return struct.unpack("I", call(path, GETFLAGS, bytes(8))[:4])[0]


def set_flags(path, value):
    return call(path, SETFLAGS, struct.pack("Q", value))


def change(path, on=0, off=0):
    return set_flags(path, flags(path) & ~off | on)


os.mkdir(mnt + "/dir")
write_file(mnt + "/file", b"begin")
os.chown(mnt + "/file", 1000, 1000)
for name in ("/file", "/dir", ""):
    equal(flags(mnt + name), flags(src + name), "flags of " + name)
    assert isinstance(change(mnt + name, on=NODUMP | NOATIME), bytes)
    equal(flags(src + name) & (NODUMP | NOATIME), NODUMP | NOATIME, "flags set on " + name)
    equal(flags(mnt + name), flags(src + name), "flags of " + name)
    equal(call(mnt + name, FSGETXATTR, bytes(28)), call(src + name, FSGETXATTR, bytes(28)))
    attributes = bytearray(call(mnt + name, FSGETXATTR, bytes(28)))
    attributes[0] &= ~XFLAG_NODUMP
    assert isinstance(call(mnt + name, FSSETXATTR, bytes(attributes)), bytes)
    equal(flags(src + name) & (NODUMP | NOATIME), NOATIME, "after FSSETXATTR of " + name)
    change(mnt + name, off=NOATIME)
    equal(flags(src + name), flags(mnt + name))
    equal(call(mnt + name, GETFSLABEL, bytes(256)), call(src + name, GETFSLABEL, bytes(256)))

# Who may do what.
equal(as_user(1000, change, mnt + "/file", NODUMP), 0)
equal(flags(src + "/file") & NODUMP, NODUMP)
os.stat(mnt + "/file")
change(mnt + "/file", off=NODUMP)
if "writeback" not in options:  # there the kernel keeps the times
    equal(os.stat(mnt + "/file").st_ctime_ns, os.stat(src + "/file").st_ctime_ns, "ctime")
equal(as_user(1001, change, mnt + "/file", 0, NOATIME), errno.EPERM)
equal(as_user(1000, change, mnt + "/file", APPEND), errno.EPERM)
equal(as_user(1000, change, mnt + "/file", IMMUTABLE), errno.EPERM)
nothing = struct.pack("QQQ", 0, 0, 0)  # no length: the store refuses it, and nothing is trimmed
equal(as_user(1000, call, mnt + "/dir", FITRIM, nothing), errno.EPERM)
command = f"import fcntl, os; fcntl.ioctl(os.open('{mnt}/dir', 0), {FITRIM}, {nothing!r})"
plain_root = subprocess.run(["setpriv", "--bounding-set=-sys_admin", "python3", "-c", command],
                            stderr=subprocess.PIPE, text=True, check=False)
equal("PermissionError" in plain_root.stderr, True, "FITRIM of root without CAP_SYS_ADMIN")
refusal = errno.EROFS if "norecovery" in options else call(src + "/dir", FITRIM, nothing)
equal(call(mnt + "/dir", FITRIM, nothing), refusal, "FITRIM")

# Nothing else gets through, last of all what would end the store.
for command in (SHUTDOWN, GETVERSION, SETFSLABEL, 0x5401, 0xC0009999 | 8 << 16):
    for name in ("/file", "/dir"):
        equal(call(mnt + name, command, bytes(256)), errno.ENOTTY, f"ioctl {command:#x}")
os.mkdir(src + "/still-writable")
os.rmdir(src + "/still-writable")


# Append-only: as on the store.
def try_all(path):
    def outcome(function, *arguments):
        try:
            result = function(*arguments)
            if isinstance(result, int) and function is os.open:
                os.close(result)
            return 0
        except OSError as error:
            return error.errno

    def append(data):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
        os.write(fd, data)
        found = os.pread(fd, 10000, 0)
        os.close(fd)
        equal(found[-20:], read_file(path)[-20:], "read back")

    seen = [outcome(append, b"-one"), outcome(append, b"-two")]
    seen.append(read_file(path).lstrip(b"x"))
    for how in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND | os.O_TRUNC):
        seen.append(outcome(os.open, path, how))
    seen.append(outcome(os.truncate, path, 0))
    seen.append(outcome(os.unlink, path))
    seen.append(outcome(os.rename, path, path + "-2"))
    seen.append(outcome(os.link, path, path + "-2"))
    seen.append(len(read_file(path)))
    return seen


for flag in (APPEND, IMMUTABLE):
    results = []
    for top, via in ((src, src + "/below"), (mnt, mnt + "/through")):
        write_file(via, b"x" * 5000)
        assert isinstance(change(via, on=flag), bytes)
        results.append(try_all(via))
        change(via, off=flag)
        os.unlink(via)
    equal(results[1], results[0], "what an append-only or immutable file allows")

# The mapping of an append-only file cannot be written to anywhere but at its end: so not at all.
path = mnt + "/mapped"
write_file(path, b"m" * 5000)
change(path, on=APPEND)
fd = os.open(path, os.O_RDWR | os.O_APPEND)
try:
    with mmap.mmap(fd, 5000) as mapping:
        mapping[0:4] = b"XXXX"
        mapping.flush()
except OSError as error:
    print("mapping:", error)
os.write(fd, b"end")
os.close(fd)
assert read_file(src + "/mapped") == b"m" * 5000 + b"end"
for name in ("/mapped", "/file"):
    change(mnt + name, off=APPEND)
    os.unlink(mnt + name)
os.rmdir(mnt + "/dir")
PYTHON
    unmount
}
check_mount
check_mount -o writeback,norecovery
