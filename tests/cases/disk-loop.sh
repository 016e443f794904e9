#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kernel mounts a partition's file through a loop device; what it writes is in the image, what it
# trims leaves the image, and e2fsck finds nothing wrong.
#
# limit: 120
. "$(dirname "$0")/functions.sh"

require_root
require_command sfdisk mkfs.ext4 e2fsck fstrim losetup
cd "$CASE_DIR"
# The kernel lets go of a loop device's file, and so of our mount, some time after the umount of what
# is on it.
unmount_all() {
    umount inner
    wait_for 20 can_unmount || fail "the loop device keeps its file"
    expect_daemon_status 0
}
can_unmount() {
    ! is_mounted || "$SLUICEFS" umount "$MNT" --timeout=$((20 * CASE_SCALE)) 2>/dev/null
}
truncate -s 128M image
printf 'label: gpt\nsize=100M\n' | sfdisk -q image
serve "$MNT" disk image "$MNT"
mkfs.ext4 -q -L data "$MNT/part1"
mkdir inner
mount -o loop "$MNT/part1" inner || skip "no loop devices here"
mkdir inner/tree
cp -a /usr/share/doc/bash* /etc/ssl inner/tree 2>/dev/null || true
head -c 40000000 /dev/urandom >inner/big
(cd inner && find . -type f ! -path './lost+found/*' -exec sha256sum {} + | sort) >sums
sync -f inner
full=$(du -k image | cut -f1)
unmount_all
e2fsck -fn "image?offset=1048576" >e2fsck.log 2>&1 || { cat e2fsck.log; fail "e2fsck"; }

# Once more with direct I/O.
serve "$MNT" disk image "$MNT" -o cache=none
mount -o loop "$MNT/part1" inner
(cd inner && sha256sum --quiet -c ../sums)
rm inner/big
sync -f inner
full_part=$(du -k "$MNT/part1" | cut -f1)
fstrim inner
part_shrank() { [ "$(du -k "$MNT/part1" | cut -f1)" -lt $((full_part - 30000)) ]; }
wait_for 20 part_shrank || fail "du: $full_part KiB before the trim, now $(du -k "$MNT/part1")"
unmount_all
trimmed=$(du -k image | cut -f1)
note "$full KiB, after the trim $trimmed KiB"
[ "$trimmed" -lt $((full - 30000)) ] || fail "the trim did not reach the image"
e2fsck -fn "image?offset=1048576" >e2fsck.log 2>&1 || { cat e2fsck.log; fail "e2fsck after the trim"; }
