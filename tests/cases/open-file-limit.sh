#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With few descriptors allowed, a walk over many files ends well or with a clean "Too many open
# files", and the daemon goes on.
#
# limit: 90
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

python "$SRC" <<'PYTHON'
for directory in range(30):
    os.mkdir(f"{sys.argv[1]}/{directory}")
    for number in range(200):
        os.close(os.open(f"{sys.argv[1]}/{directory}/{number}", os.O_CREAT | os.O_WRONLY))
PYTHON
# Hard and soft: a daemon may raise its soft limit to the hard one.
ulimit -n 2000
mount_passthrough
status=0
find "$MNT" -type f -size -1 >"$CASE_DIR/found" 2>"$CASE_DIR/errors" || status=$?
note "find: status $status, $(wc -l <"$CASE_DIR/found") files, $(wc -l <"$CASE_DIR/errors") errors"
if grep -v 'Too many open files' "$CASE_DIR/errors" | head -n 3 | grep .; then
    fail "errors other than 'Too many open files'"
fi
if [ $status -eq 0 ]; then
    assert_eq "$(wc -l <"$CASE_DIR/found")" 6000 'files found'
fi
kill -0 "${DAEMON[$MNT]}" || fail "the daemon died"
[ "$(id -u)" -ne 0 ] || echo 2 >/proc/sys/vm/drop_caches
works_again() {
    echo works >"$MNT/0/0" && [ "$(cat "$SRC/0/0")" = works ]
}
wait_for 15 works_again 2>/dev/null || fail "no file can be opened afterwards"
unmount
