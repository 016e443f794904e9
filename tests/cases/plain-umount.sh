#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# umount(8) and fusermount3 end the daemon with status 0; a busy mount is refused and goes on.
. "$(dirname "$0")/functions.sh"

mount_passthrough
exec {file}>"$MNT/file"
expect_fail 'busy' umount "$MNT"
expect_fail 'busy' "$SLUICEFS" umount "$MNT" --timeout=5
echo still >&$file
exec {file}>&-
assert_eq "$(cat "$MNT/file")" still
umount "$MNT"
expect_daemon_status 0
mount_passthrough
fusermount3 -u "$MNT"
expect_daemon_status 0
assert_eq "$(cat "$SRC/file")" still
