#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SQLite in WAL mode, with concurrent writers in several processes, loses no row and keeps its
# database whole.
#
# limit: 240
. "$(dirname "$0")/functions.sh"

require_command sqlite3
mount_passthrough
db=$MNT/test.db
sqlite3 "$db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(writer INTEGER, n INTEGER, body BLOB);' |
    grep -qx wal || fail "WAL mode was refused"
writers=()
for writer in 1 2 3 4; do
    {
        echo '.timeout 200000'
        for ((n = 0; n < 100; n++)); do
            echo "BEGIN IMMEDIATE; INSERT INTO t VALUES($writer, $n, randomblob(3000)); COMMIT;"
        done
    } | sqlite3 -bail "$db" &
    writers+=($!)
done
for writer in "${writers[@]}"; do
    wait "$writer" || fail "a writer failed"
done
assert_eq "$(sqlite3 "$db" 'PRAGMA integrity_check;')" ok integrity_check
assert_eq "$(sqlite3 "$db" 'SELECT count(*), count(DISTINCT writer*1000+n) FROM t;')" '400|400' rows
sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE);' >/dev/null
unmount
assert_eq "$(sqlite3 "$SRC/test.db" 'PRAGMA integrity_check; SELECT count(*) FROM t;')" $'ok\n400' \
    'the database seen below the mount'
