#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With --watch a storm of changes below the mount neither hangs anybody nor leaves old names or
# contents, also when clients are killed meanwhile; unmounting and kill -9 of the daemon end it all.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
# a file system of its own: what other cases do meanwhile does not fill the queue
mount -t tmpfs -o size=256m none "$SRC" || skip "no tmpfs here"
trap 'umount -l "$SRC" 2>/dev/null || true' EXIT
require_watch
cat >"$CASE_DIR/storm.py" <<'PYTHON'
import os, random, sys
from check import write_file
# Files are created below, some of them moved, linked, cut, removed; on and on.
src = sys.argv[1]
chance = random.Random(1)
for i in range(1 << 60):
    path = f"{src}/{i % 10}/{i % 5000}"
    write_file(path, b"%d" % i)
    what = chance.randrange(6)
    if what == 0:
        os.rename(path, f"{src}/{chance.randrange(10)}/moved{i % 100}")
    elif what == 1:
        os.unlink(path)
    elif what == 2:
        os.truncate(path, 0)
    elif what == 3 and not os.path.exists(path + ".link"):
        os.link(path, path + ".link")
PYTHON
cat >"$CASE_DIR/look.py" <<'PYTHON'
import os, sys
while True:
    for directory in range(10):
        for entry in os.scandir(f"{sys.argv[1]}/{directory}"):
            try:
                entry.stat()
                with open(entry.path, "rb") as file:
                    file.read()
            except OSError:
                pass  # gone
PYTHON
mkdir "$SRC"/{0..9}

# What runs in the background is python itself, which kill reaches: no function is between.
export PYTHONPATH=$TESTS/cases PYTHONDONTWRITEBYTECODE=1

# look: a client; sets pid.
look() {
    python3 "$CASE_DIR/look.py" "$MNT" 2>"$CASE_DIR/look.log" &
    pid=$!
}

# storm: sets storm.
storm() {
    python3 "$CASE_DIR/storm.py" "$SRC" &
    storm=$!
}

end_storm() {
    has_ended $storm && fail "the storm is over"
    kill -KILL $storm
    wait $storm 2>/dev/null || true
}

note "clients are killed"
mount_passthrough --cache=always --watch
storm
for _ in 1 2 3 4 5 6; do
    clients=()
    for _ in 1 2 3; do
        look
        clients+=("$pid")
    done
    sleep 0.5
    ! has_ended "$pid" || fail "the client has ended: $(cat "$CASE_DIR/look.log")"
    kill -KILL "${clients[@]}"
    for pid in "${clients[@]}"; do
        wait_for 15 has_ended "$pid" || fail "process $pid does not die"
    done
done
end_storm
as_below() {
    diff -r "$SRC" "$MNT" >"$CASE_DIR/differences" 2>&1
}
wait_for 30 as_below || fail "old things are still seen: $(head -n 5 "$CASE_DIR/differences")"

note "unmounted in the storm"
storm
look
sleep 0.5
kill -KILL "$pid"
wait_for 15 has_ended "$pid" || fail "the client does not die"
unmount

note "told to stop in the storm, with a client"
mount_passthrough --cache=always --watch --stop-timeout=1
look
sleep 0.5
kill -TERM "${DAEMON[$MNT]}"
expect_daemon_status '0|2|5|32'
kill -KILL "$pid" 2>/dev/null || true
wait_for 15 has_ended "$pid" || fail "the client does not die"

note "the daemon is killed in the storm"
mount_passthrough --cache=always --watch
look
sleep 0.5
kill -KILL "${DAEMON[$MNT]}"
# A thread that is inside of a notification then keeps the connection: see docs/design/watch.md.
wait_for 5 has_ended "${DAEMON[$MNT]}" || true
abort_connection
expect_daemon_status 137
kill -KILL "$pid" 2>/dev/null || true
wait_for 15 has_ended "$pid" || fail "the client does not die"
end_storm
timeout 10 "$SLUICEFS" umount "$MNT" || timeout 10 umount "$MNT"
