#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# POSIX ACLs set through the mount are stored, inherited and enforced.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command setfacl getfacl setpriv
setfacl -m u:1000:r "$SRC" 2>/dev/null && setfacl -b "$SRC" || skip "no ACLs in $SRC"
chmod 755 "$CASE_DIR"
mount_passthrough -o allow_other
as() {
    setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"
}
echo secret >"$MNT/file"
chmod 600 "$MNT/file"
expect_fail denied as 1000 cat "$MNT/file"
setfacl -m u:1000:r "$MNT/file"
assert_eq "$(as 1000 cat "$MNT/file")" secret
expect_fail denied as 1001 cat "$MNT/file"
expect_fail denied as 1000 sh -c "echo x >>'$MNT/file'"
assert_eq "$(getfacl -cnp "$MNT/file")" "$(getfacl -cnp "$SRC/file")" 'ACL through the mount and below'

mkdir "$MNT/dir"
setfacl -d -m u:1000:rwx "$MNT/dir"
umask 0 # the store would ignore it below a default ACL; FUSE applies it first
mkdir "$MNT/dir/below"
echo inherited >"$MNT/dir/below/file"
getfacl -cnp "$MNT/dir/below" | grep -qx 'default:user:1000:rwx' || fail "default ACL not inherited"
getfacl -cnp "$MNT/dir/below/file" | grep -q '^user:1000:rwx' || fail "ACL not inherited"
as 1000 sh -c "echo changed >'$MNT/dir/below/file'"
assert_eq "$(cat "$SRC/dir/below/file")" changed
setfacl -b "$MNT/file"
expect_fail denied as 1000 cat "$MNT/file"
unmount
