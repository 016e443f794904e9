#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# git adds, commits, clones, checks and repacks repositories on the mount; fsck and status find
# nothing wrong.
#
# limit: 120
# quick: no
. "$(dirname "$0")/functions.sh"

require_command git
export HOME=$CASE_DIR GIT_CONFIG_NOSYSTEM=1
git config --global user.name Case
git config --global user.email case@example.invalid
git config --global init.defaultBranch main
git config --global gc.auto 0
mount_passthrough
mkdir "$MNT/origin"
cd "$MNT/origin"
git init -q
cp -r /usr/include/linux .
git add .
git commit -qm one
for i in 1 2 3; do
    find linux -name "[a-e]*.h" | while read -r file; do echo "/* $i */" >>"$file"; done
    git mv linux/fuse.h "linux/fuse-$i.h"
    git commit -qam "change $i"
    git mv "linux/fuse-$i.h" linux/fuse.h
    git commit -qm "back $i"
done
git fsck --full --strict
assert_eq "$(git status --porcelain)" '' 'status of the origin'

git clone -q "$MNT/origin" "$MNT/clone"
git clone -q --no-local "$MNT/origin" "$CASE_DIR/outside"
cd "$MNT/clone"
git fsck --full --strict
assert_eq "$(git status --porcelain)" '' 'status of the clone'
git checkout -q HEAD~3
git checkout -q main
git repack -q -a -d
git gc -q
git fsck --full
assert_eq "$(git status --porcelain)" '' 'status after gc'
assert_eq "$(git -C "$CASE_DIR/outside" rev-parse HEAD)" "$(git rev-parse HEAD)" 'heads'
cd "$CASE_DIR"
diff -r -x .git "$SRC/clone" "$CASE_DIR/outside"
unmount
