#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Without -f the command returns 0 only when the mount serves, writes its pid file, and leaves
# one daemon with no terminal and no stray descriptors.
. "$(dirname "$0")/functions.sh"

engine_options
"${WRAPPER[@]}" "$SLUICEFS" passthrough "$SRC" "$MNT" "${OPTIONS[@]}" --pid-file="$CASE_DIR/pid" \
    </dev/null >"$CASE_DIR/out" 2>&1
is_mounted || fail "returned 0, but nothing is mounted"
echo works >"$MNT/file"
assert_eq "$(cat "$SRC/file")" works
pid=$(cat "$CASE_DIR/pid")
assert_eq "$(readlink "/proc/$pid/exe")" "$(readlink -f "$SLUICEFS")" 'program of the process in the pid file'
assert_eq "$(readlink "/proc/$pid/cwd")" / 'working directory'
assert_eq "$(awk '{ print $7 }' "/proc/$pid/stat")" 0 'controlling terminal'
for fd in 0 1 2; do
    case $(readlink "/proc/$pid/fd/$fd") in
    /dev/null | socket:*) ;;
    *) fail "descriptor $fd is $(readlink "/proc/$pid/fd/$fd")" ;;
    esac
done
"$SLUICEFS" umount "$MNT" --timeout=60
wait_for 10 has_ended "$pid" || fail "the daemon is still there after umount"
[ ! -e "$CASE_DIR/pid" ] || fail "the pid file is still there"
