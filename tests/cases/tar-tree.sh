#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tar packs and unpacks a real tree on the mount, and finds no difference afterwards.
#
# limit: 120
# quick: no
. "$(dirname "$0")/functions.sh"

real=/usr/include
tar --format=posix -C $real -cf "$CASE_DIR/tree.tar" .
mount_passthrough
mkdir "$MNT/tree"
tar -C "$MNT/tree" -xpf "$CASE_DIR/tree.tar"
tar -C "$MNT/tree" -df "$CASE_DIR/tree.tar"
same_tree $real "$SRC/tree"
tar --format=posix -C "$MNT/tree" -cf "$MNT/again.tar" .
tar -C $real -df "$SRC/again.tar"
unmount
