#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# sluicefs status and stats tell what a daemon does; the control socket takes no nonsense, and a
# dead daemon is named as such.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

mount_passthrough
echo hello >"$MNT/file"
cat "$MNT/file" >/dev/null
! cat "$MNT/none" 2>/dev/null || fail "there is no such file"

"$SLUICEFS" status "$MNT" | grep -q "^serving *${DAEMON[$MNT]} " || fail "status"
# A request is counted by operation when it comes back to its worker, which may be later.
creation_is_told() {
    "$SLUICEFS" stats "$MNT" >"$CASE_DIR/text" && grep -q '^create  *1 ' "$CASE_DIR/text"
}
wait_for 20 creation_is_told || fail "$(cat "$CASE_DIR/text")"
"$SLUICEFS" stats --prometheus "$MNT" >"$CASE_DIR/prometheus"
"$SLUICEFS" stats --watch --interval=0.2 "$MNT" >"$CASE_DIR/watch" &
watcher=$!
wait_for 20 grep -q '^operation ' "$CASE_DIR/watch" || fail "watch printed nothing"
kill $watcher
wait $watcher || true
expect_fail 'exclude each other' "$SLUICEFS" stats --json --watch "$MNT"
expect_fail 'not a mount point' "$SLUICEFS" stats "$SRC"
expect_fail 'not of sluicefs' "$SLUICEFS" stats /proc

python "$SLUICEFS" "$MNT" "${DAEMON[$MNT]}" "$CASE_DIR/prometheus" "$(connection_of)" <<'PYTHON'
import json
import socket

sluicefs, mnt, pid, prometheus, minor = sys.argv[1:]


def run(*arguments):
    return json.loads(subprocess.check_output([sluicefs, *arguments]))


status = run("status", "--json", mnt)
equal(len(status), 1, "mounts")
equal(status[0]["state"], "serving", "state")
equal(status[0]["mountpoint"], mnt, "mount point")
before = run("stats", "--json", mnt)
equal(before["status"]["pid"], int(pid), "process")
for number in range(10):
    os.close(os.open(f"{mnt}/new{number}", os.O_CREAT | os.O_WRONLY))
# The workers go on while they are asked one after the other, and count a request by operation when it
# comes back to them: what does not agree at once does when nothing happens any more.
totals = ("requests", "replies", "turns")
deadline = time.monotonic() + 20
while True:
    after = run("stats", "--json", mnt)
    creates = after["operations"]["create"]["count"] - before["operations"]["create"]["count"]
    sums = [sum(worker[name] for worker in after["workers"]) for name in totals]
    if (creates >= 10 and after["operations"]["lookup"]["errors"] >= 10 and
            sums == [after["counters"][name] for name in totals]):
        break
    if time.monotonic() > deadline:
        break
    time.sleep(0.1)
equal(creates, 10, "creates")
assert after["operations"]["lookup"]["errors"] >= 10, after
for name, times in after["operations"].items():
    assert times["p50_ns"] <= times["p99_ns"] <= times["p999_ns"] <= times["max_ns"], (name, times)
    assert times["sum_ns"] <= times["count"] * times["max_ns"], (name, times)
equal(sums, [after["counters"][name] for name in totals], str(totals))
assert 0 < sum(times["count"] for times in after["operations"].values()) <= after["counters"]["requests"]

# Every line is a comment or a metric; each metric has a type.
types = set()
for line in open(prometheus):
    if line.startswith("# TYPE "):
        types.add(line.split()[2])
        continue
    name, value = line.rsplit(" ", 1)
    float(value)
    name = name.split("{")[0]
    assert name in types or name.rsplit("_", 1)[0] in types, line

# Nonsense.
path = f"/run/sluicefs/0:{minor}.socket"
equal(os.stat(path).st_mode & 0o777, 0o600, "mode of the socket")


def ask(question):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(question)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return json.loads(answer)


for question in (b"\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"command": 5}\n',
                 b'{"command": "none"}\n', b"\xff\xfe\n",
                 b"[" * 4000 + b"\n", b"x" * 4096):
    answer = ask(question)
    equal(answer["ok"], False, f"answer to {question[:20]}")
    assert isinstance(answer["error"], str), answer
# Who writes now and then gets no more time than who is silent.
slow = socket.socket(socket.AF_UNIX)
slow.connect(path)
slow.settimeout(0.5)
deadline = time.monotonic() + 45
pauses = 0
while True:
    assert time.monotonic() < deadline, "a slow client is never hung up on"
    try:
        slow.send(b" ")
        if not slow.recv(1):
            break
    except TimeoutError:
        pauses += 1
    except OSError:
        break
assert pauses > 0, "hung up on at once"
silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for client in silent:
    client.connect(path)
for client in silent:
    client.close()


def answers():
    try:
        return ask(b'{"command": "status"}\n')["ok"]
    except (OSError, ValueError):
        return False


deadline = time.monotonic() + 30
while not answers():
    assert time.monotonic() < deadline, "does not answer any more"
    time.sleep(0.1)
PYTHON

kill -KILL "${DAEMON[$MNT]}"
expect_daemon_status 137
expect_fail 'dead .*no daemon' "$SLUICEFS" status "$MNT"
expect_fail 'no daemon' "$SLUICEFS" stats "$MNT"
umount "$MNT"

mount_passthrough
"$SLUICEFS" stats "$MNT" >/dev/null
unmount
