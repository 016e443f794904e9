#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Wrong options and arguments get one clear line that names them, and a status of mount(8); nothing
# is mounted.
#
# matrix: once
. "$(dirname "$0")/functions.sh"

# wrong TEXT ARGUMENT...
wrong() {
    local text=$1 output status=0
    shift
    output=$("$SLUICEFS" "$@" 2>&1 </dev/null) || status=$?
    note "sluicefs $*: status $status: $output"
    [[ $status =~ ^(1|2|32)$ ]] || fail "status $status"
    [[ $output == *"$text"* ]] || fail "does not name '$text'"
    if is_mounted; then
        fail "mounted in spite of the error"
    fi
}
wrong no-such-command no-such-command "$SRC" "$MNT"
wrong '' passthrough
wrong '' passthrough "$SRC"
wrong extra passthrough "$SRC" "$MNT" extra
wrong --no-such-option passthrough "$SRC" "$MNT" --no-such-option
wrong no_such_word passthrough "$SRC" "$MNT" -o no_such_word
wrong no_such_word passthrough "$SRC" "$MNT" -o noatime,no_such_word,ro
for value in -1 0x x 99999999999 ''; do
    wrong threads passthrough "$SRC" "$MNT" --threads="$value"
done
wrong io-engine passthrough "$SRC" "$MNT" --io-engine=steam
wrong poll-max-us passthrough "$SRC" "$MNT" --poll-max-us=soon
wrong ready-fd passthrough "$SRC" "$MNT" --ready-fd=1000
wrong ready-fd passthrough "$SRC" "$MNT" --ready-fd=2
(
    exec 3<&-
    wrong ready-fd passthrough "$SRC" "$MNT" --ready-fd=3 --log="$CASE_DIR/log"
)
wrong ready-fd passthrough "$SRC" "$MNT" --ready-fd=x
wrong timeout umount "$MNT" --timeout=x
wrong "$MNT" umount "$MNT"
wrong '' umount
[[ $("$SLUICEFS" --help) == *passthrough* ]]
[[ $("$SLUICEFS" passthrough --help) == *--threads* ]]
[[ $("$SLUICEFS" --version) =~ [0-9]+\.[0-9]+ ]]
