#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A mount whose names are not UTF-8 or would control a terminal can be looked at and unmounted, and
# no command writes such a byte.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

source=$CASE_DIR/$'source-\xff\e[31m'
mountpoint=$CASE_DIR/$'mnt-\xff\e[31m'
mkdir -p "$source/sub" "$mountpoint"
ln -s "$mountpoint" "$CASE_DIR/link"
ln -s "$mountpoint/sub" "$CASE_DIR/inside"

# harmless FILE: valid UTF-8, no control characters but newlines.
harmless() {
    python "$1" <<'PYTHON'
text = open(sys.argv[1], "rb").read().decode()
assert all(c == "\n" or c.isprintable() for c in text), repr(text)
PYTHON
}

serve "$mountpoint" passthrough "$source" "$mountpoint"
cd "$CASE_DIR"
for command in 'status link' 'status --json link' 'stats link' 'stats --json link' \
    'stats --prometheus link'; do
    note "$command"
    # shellcheck disable=SC2086 # words
    "$SLUICEFS" $command >out || fail "$command"
    harmless out
done
"$SLUICEFS" status link >out
grep -q 'mnt-.\\x1b\[31m (' out || fail "status: $(cat out)"
"$SLUICEFS" stats link >out
grep -q 'source-.\\x1b\[31m on ' out || fail "stats: $(cat out)"
for command in 'stats inside' 'status inside' 'umount inside'; do
    # shellcheck disable=SC2086 # words
    expect_fail 'not a mount point' "$SLUICEFS" $command
    # shellcheck disable=SC2086 # words
    "$SLUICEFS" $command >out 2>&1 || true
    harmless out
done

# Without an answer the mount table is what is known.
kill -KILL "${DAEMON[$mountpoint]}"
expect_daemon_status 137 "$mountpoint"
"$SLUICEFS" status --json link >out || true
harmless out
grep -q '"state" : "dead"' out || fail "status: $(cat out)"
umount "$mountpoint"

# The kind of a mount is its maker's word, too.
serve "$mountpoint" passthrough "$source" "$mountpoint" "--subtype=a"$'\e[31m'
kill -KILL "${DAEMON[$mountpoint]}"
expect_daemon_status 137 "$mountpoint"
"$SLUICEFS" umount link >out 2>&1 && fail "unmounted what is not known"
harmless out
grep -qF 'type fuse.a\x1b[31m' out || fail "umount: $(cat out)"
umount "$mountpoint"
