#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# An ACL set by one who is not in the file's group takes the set-group-id bit away, and only then.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command setfacl setpriv
setfacl -m u:1000:r "$SRC" 2>/dev/null && setfacl -b "$SRC" || skip "no ACLs in $SRC"
chmod 755 "$CASE_DIR"
mount_passthrough -o allow_other

# mode_after DIRECTORY UID SETPRIV-OPTION...: of a set-group-id file of user 1000 and group 3000
mode_after() {
    local file=$1/file
    rm -f "$file"
    echo >"$file"
    chown 1000:3000 "$file"
    chmod 2755 "$file"
    setpriv --reuid="$2" --regid="$2" "${@:3}" setfacl -m u:1001:r "$file"
    stat -c %a "$file"
}
mkdir "$SRC/below" "$MNT/through"
while read -ra who; do
    expected=$(mode_after "$SRC/below" "${who[@]}")
    assert_eq "$(mode_after "$MNT/through" "${who[@]}")" "$expected" "mode after setfacl as ${who[*]}"
    assert_eq "$(stat -c %a "$SRC/through/file")" "$expected" "mode on the store as ${who[*]}"
    note "${who[*]}: $expected"
done <<'USERS'
1000 --clear-groups
1000 --groups=3000
1000 --groups=4000
0 --clear-groups
0 --clear-groups --inh-caps=-fsetid --bounding-set=-fsetid
USERS

# A default ACL is no reason; neither is another attribute.
mkdir "$MNT/dir"
chown 1000:3000 "$MNT/dir"
chmod 2755 "$MNT/dir"
setpriv --reuid=1000 --regid=1000 --clear-groups setfacl -d -m u:1001:r "$MNT/dir"
assert_eq "$(stat -c %a "$SRC/dir")" 2755 'after a default ACL'
unmount

# Without attributes the source's own rules for new files stay.
mount_passthrough -o allow_other -o xattr=no
mkdir "$SRC/inherit"
setfacl -d -m u:1001:rwx "$SRC/inherit"
(umask 077 && echo >"$MNT/inherit/file")
getfacl -cnp "$SRC/inherit/file" | grep -q '^user:1001:rwx' || fail 'default ACL not inherited'
unmount
