#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# mount -t fuse.sluicefs works with the words that mount(8) passes, for a directory and for a disk; a
# remount changes them both ways; umount ends it.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command unshare mkfs.ext4
# mount(8) looks for its helpers in /sbin: give it one in a mount namespace of our own.
cat >"$CASE_DIR/inside" <<'INSIDE'
set -eu
mount --make-rprivate /
mkdir upper work
mount -t overlay -o "lowerdir=$(readlink -f /sbin),upperdir=upper,workdir=work" none "$(readlink -f /sbin)"
ln -s "$SLUICEFS" /sbin/mount.fuse.sluicefs
check() {
    echo "options: ${1:-none}"
    mount -t fuse.sluicefs ${1:+-o "$1"} "$SRC" "$MNT"
    findmnt -n -o FSTYPE,SOURCE,OPTIONS "$MNT"
    test "$(findmnt -n -o FSTYPE "$MNT")" = fuse.sluicefs
    test "$(cat "$MNT/file")" = hello
}
echo hello >"$SRC/file"
check ''
umount "$MNT"
check rw,nosuid,nodev,noatime
findmnt -n -o OPTIONS "$MNT" | grep -q nosuid
umount "$MNT"
check ro
if touch "$MNT/x" 2>/dev/null; then
    echo "FAIL: written in spite of ro"
    exit 1
fi
umount "$MNT"
check defaults,_netdev,threads=2
mount -o remount,ro "$MNT"
if touch "$MNT/x" 2>/dev/null; then
    echo "FAIL: written in spite of remount,ro"
    exit 1
fi
mount -o remount,rw "$MNT"
touch "$MNT/x"
umount "$MNT"

# mount(8) has merged the words before it calls us for a remount: what is missing is undone.
options_are() {
    findmnt -n -o OPTIONS "$MNT" >options
    for word in "$@"; do
        case $word in
        -*) ! tr , '\n' <options | grep -qx -- "${word#-}" ;;
        *) tr , '\n' <options | grep -qx -- "$word" ;;
        esac || {
            echo "FAIL: $word: $(cat options)"
            exit 1
        }
    done
}
ln -s file "$SRC/link"
check noexec,noatime,sync,nodev,nosymfollow
options_are noexec noatime sync nodev nosymfollow -nosuid
if cat "$MNT/link" 2>/dev/null; then
    echo "FAIL: followed a link in spite of nosymfollow"
    exit 1
fi
mount -o remount,exec "$MNT"
options_are -noexec noatime sync nodev nosymfollow
mount -o remount,async,atime "$MNT"
options_are -noexec -noatime -sync nodev nosymfollow
mount -o remount,ro "$MNT"
options_are ro nodev nosymfollow
mount -o remount,dev,symfollow,mand "$MNT"
options_are ro -nodev -nosymfollow
test "$(cat "$MNT/link")" = hello
umount "$MNT"

check threads=2,single_thread
"$SLUICEFS" stats "$MNT" >stats
if ! grep -q ' 1 workers' stats; then
    echo "FAIL: single_thread: $(cat stats)"
    exit 1
fi
umount "$MNT"
for option in run=true debug; do
    if mount -t fuse.sluicefs -o "$option" "$SRC" "$MNT" 2>error; then
        echo "FAIL: -o $option was accepted"
        exit 1
    fi
    cat error
    grep -q "option '${option%=*}' " error
done

truncate -s 1M image
mount -t fuse.sluicefs -o cache=none,size=64K "$PWD/image" "$MNT"
test "$(stat -c %s "$MNT/disk")" = 65536
umount "$MNT"

# A file that is a file system shows its files, unless it is asked for as a disk. umount(8) does not wait for
# the daemon, which keeps its lock on the image until it has ended: so the next one waits.
mkfs.ext4 -q -F -d "$SRC" image
mount -t fuse.sluicefs -o ro,wait=40 "$PWD/image" "$MNT"
test "$(cat "$MNT/file")" = hello
findmnt -n -o OPTIONS "$MNT" | grep -q '^ro,'
umount "$MNT"
echo "$PWD/image $MNT fuse.sluicefs noauto,user,files 0 0" >fstab
mount -T fstab "$MNT"
test "$(cat "$MNT/file")" = hello
umount "$MNT"
mount -t fuse.sluicefs -o files=no,wait=40 "$PWD/image" "$MNT"
test -f "$MNT/disk"
umount "$MNT"
if mount -t fuse.sluicefs -o no_such_word "$SRC" "$MNT"; then
    echo "FAIL: an unknown word was accepted"
    exit 1
fi
INSIDE
export SRC MNT
own_mounts sh "$CASE_DIR/inside"
