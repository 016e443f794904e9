#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# SQLite with a rollback journal keeps committed rows and undoes the transaction of a killed
# writer.
. "$(dirname "$0")/functions.sh"

mount_passthrough
python "$MNT/test.db" <<'PYTHON'
import sqlite3

path = sys.argv[1]
db = sqlite3.connect(path)
db.execute("PRAGMA journal_mode=DELETE")
db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, body BLOB)")
with db:
    db.executemany("INSERT INTO t VALUES(?, ?)", [(n, b"old" * 300) for n in range(500)])
db.close()

child = os.fork()
if child == 0:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size=5")
    db.execute("BEGIN")
    db.execute("UPDATE t SET body = randomblob(900)")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
assert os.path.exists(path + "-journal"), "the killed writer left no hot journal"

db = sqlite3.connect(path)
equal(db.execute("PRAGMA integrity_check").fetchone(), ("ok",))
equal(db.execute("SELECT count(*), count(DISTINCT body) FROM t").fetchone(), (500, 1))
db.close()
PYTHON
unmount
