#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Attributes have other names on the source, as --xattrmap says; trusted.* is for CAP_SYS_ADMIN only.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command setfattr getfattr setpriv
touch "$SRC/file"
setfattr -n user.probe -v x "$SRC/file" 2>/dev/null || skip "no user xattrs in $SRC"
setfattr -n trusted.probe -v x "$SRC/file"
chmod 755 "$CASE_DIR"
# names FILE [COMMAND...]: the names of its attributes that the command (setpriv ...) makes one see
names() {
    "${@:2}" getfattr --absolute-names -m - "$1" | sed '1d; /^$/d' | sort | xargs
}
as_user=(setpriv --reuid=1000 --regid=1000 --clear-groups)

# All below one name: the source's own are not seen.
mount_passthrough -o allow_other --xattrmap=user.virtiofs
python "$MNT/file" "$SRC/file" <<'PYTHON'
mnt, src = sys.argv[1:]
equal(os.listxattr(mnt), [])
for name in ("user.probe", "trusted.probe", "security.capability", "system.posix_acl_access"):
    expect_errno((errno.ENODATA, errno.EOPNOTSUPP), os.getxattr, mnt, name)
for name in ("user.one", "trusted.two", "security.three", "user.virtiofs.four"):
    os.setxattr(mnt, name, name.encode())
    equal(os.getxattr(src, "user.virtiofs." + name), name.encode())
    equal(os.getxattr(mnt, name), name.encode())
equal(sorted(os.listxattr(mnt)), ["security.three", "trusted.two", "user.one", "user.virtiofs.four"])
os.removexattr(mnt, "trusted.two")
expect_errno(errno.ENODATA, os.removexattr, mnt, "trusted.two")
expect_errno(errno.ENODATA, os.getxattr, mnt, "trusted.two")
# What has a meaning by its name only.
expect_errno(errno.EOPNOTSUPP, os.setxattr, mnt, "security.capability",
             struct.pack("<IIIII", 0x02000000, 1, 0, 0, 0))
acl = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 4, 1000, 4, 4, 2**32 - 1, 16, 4, 2**32 - 1,
                  32, 0, 2**32 - 1)
expect_errno(errno.EOPNOTSUPP, os.setxattr, mnt, "system.posix_acl_access", acl)
# Lengths: the buffer that is too small, the name that gets too long.
size = len("\0".join(os.listxattr(mnt))) + 1
libc = ctypes.CDLL(None, use_errno=True)
equal(libc.listxattr(os.fsencode(mnt), None, 0), size)
small = ctypes.create_string_buffer(size)
equal(libc.listxattr(os.fsencode(mnt), small, size - 1), -1)
equal(ctypes.get_errno(), errno.ERANGE)
equal(libc.listxattr(os.fsencode(mnt), small, size), size)
expect_errno(errno.ERANGE, os.setxattr, mnt, "user." + 250 * "n", b"")
expect_errno(errno.ENODATA, os.getxattr, mnt, "user." + 250 * "n")
PYTHON
assert_eq "$(names "$MNT/file" "${as_user[@]}")" \
    'security.three user.one user.virtiofs.four' 'names that a user sees'
unmount

# Some of them: the rest stays, what they are called on the source cannot be used.
mount_passthrough -o allow_other --xattrmap='/map/trusted./user.t./'
python "$MNT/file" "$SRC/file" <<'PYTHON'
mnt, src = sys.argv[1:]
os.setxattr(mnt, "trusted.x", b"1")
equal(os.getxattr(src, "user.t.trusted.x"), b"1")
expect_errno(errno.EPERM, os.setxattr, mnt, "user.t.trusted.x", b"forged")
expect_errno(errno.EPERM, os.removexattr, mnt, "user.t.trusted.x")
expect_errno(errno.ENODATA, os.getxattr, mnt, "user.t.trusted.x")
expect_errno(errno.ENODATA, os.getxattr, mnt, "trusted.probe")
equal(os.getxattr(mnt, "user.probe"), b"x")
assert "trusted.probe" not in os.listxattr(mnt) and "user.t.trusted.x" not in os.listxattr(mnt)
assert "trusted.x" in os.listxattr(mnt)
PYTHON
unmount

# Without a map; what ordinary users may do.
mount_passthrough -o allow_other
chmod 666 "$SRC/file"
for who in env "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin" "${as_user[*]}"; do
    read -ra command <<<"$who"
    seen=$(names "$MNT/file" "${command[@]}")
    note "$who: $seen"
    assert_eq "$seen" "$(names "$SRC/file" "${command[@]}")" "names seen by $who"
done
[[ $seen == *user.probe* && $seen != *trusted.probe* ]] || fail "a user sees $seen"
"${as_user[@]}" setfattr -n user.mine -v x "$MNT/file"
for name in trusted.mine security.mine; do
    expect_fail 'not permitted' "${as_user[@]}" setfattr -n "$name" -v x "$MNT/file"
    setfattr -n "$name" -v x "$MNT/file"
    assert_eq "$(getfattr --only-values --absolute-names -n "$name" "$SRC/file")" x "$name"
done
expect_fail 'No such attribute' "${as_user[@]}" getfattr -n trusted.mine "$MNT/file"
assert_eq "$("${as_user[@]}" getfattr --only-values --absolute-names -n security.mine "$MNT/file")" x
unmount

wrong() {
    expect_fail "$1" "$SLUICEFS" passthrough "$SRC" "$MNT" "${@:2}"
}
wrong "rule 2 of the xattr map has the type 'fine'" --xattrmap=':bad:client:user.:: :fine:all:::'
wrong 'no rule for all other names' -o 'xattrmap=:bad:all:user.:user.:'
wrong 'contradict' --xattr=no --xattrmap=user.virtiofs
if is_mounted; then
    fail 'mounted in spite of a bad map'
fi
