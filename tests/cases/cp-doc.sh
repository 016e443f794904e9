#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A real tree (cp -a of /usr/share/doc) written through the mount and read back through it is the
# same in both directions, with owners, modes, times and links.
#
# limit: 240
# quick: no
. "$(dirname "$0")/functions.sh"

real=/usr/share/doc
mount_passthrough
cp -a $real "$MNT/doc"
same_tree $real "$MNT/doc"
same_tree $real "$SRC/doc"
cp -a "$MNT/doc" "$CASE_DIR/back"
same_tree $real "$CASE_DIR/back"
rm -r "$MNT/doc"
assert_eq "$(ls -A "$SRC")" '' 'what is left after rm -r'
unmount
