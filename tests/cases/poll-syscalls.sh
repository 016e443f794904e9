#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A request that a spinning worker finds costs no call that can sleep: the blocking calls in the
# trace are those of the waits that found nothing, and no more.
#
# limit: 150
# alone: yes
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command strace
[ "$ENGINE" = ring ] || skip "about the ring only"
# Spinning far longer than a request takes to come, so that spins end with work; strace and the
# client want the CPUs as well.
mount_passthrough --cache=none --threads=1 --poll=classic --poll-max-us=200000 --poll-grow=64 \
    --poll-insist
echo 0123456789 >"$SRC/file"
trace=$CASE_DIR/trace
status=0
python "$SLUICEFS" "$MNT" "${DAEMON[$MNT]}" "$trace" <<'PYTHON' || status=$?
import json
import re
import signal

sluicefs, mnt, pid, trace = sys.argv[1:]
WANTED = 300


def counters():
    return json.loads(subprocess.check_output([sluicefs, "stats", "--json", mnt]))["counters"]


def ask(times):
    for _ in range(times):
        os.stat(f"{mnt}/file")


ask(20)
before = counters()
tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-p", pid])
deadline = time.monotonic() + 100 * int(os.environ["CASE_SCALE"])
attached = f"/proc/{pid}/status"
while "TracerPid:\t0\n" in open(attached).read():
    if tracer.poll() is not None:
        sys.exit(77)
    assert time.monotonic() < deadline, "strace does not attach"
    time.sleep(0.05)
hits = 0
while hits < WANTED and time.monotonic() < deadline:
    ask(50)
    hits = counters()["poll_hits"] - before["poll_hits"]
tracer.send_signal(signal.SIGINT)
tracer.wait()
after = counters()  # from before the trace to after it: no wait of it is missed

calls = {}  # thread -> its calls
for line in open(trace, errors="replace"):
    match = re.match(r"(\d+) +(\w+)\((.*)", line)
    if match:
        calls.setdefault(match[1], []).append((match[2], match[3]))
worker = max(calls.values(), key=lambda made: sum(name == "io_uring_enter" for name, _ in made))
# io_uring_enter(fd, to_submit, min_complete, flags, ...): it can sleep if min_complete is not 0.
enters = [re.split(r", *", arguments) for name, arguments in worker if name == "io_uring_enter"]
blocking = sum(words[2] != "0" for words in enters)
others = {name for name, _ in worker} & {"futex", "poll", "ppoll", "epoll_wait", "epoll_pwait",
                                         "epoll_pwait2", "nanosleep", "clock_nanosleep", "select",
                                         "sched_yield"}
waits = after["blocking_waits"] - before["blocking_waits"]
print(f"{hits} spins found work; {waits} waits could sleep; io_uring_enter: {len(enters)}, "
      f"of them {blocking} blocking")
assert hits >= WANTED, f"only {hits} spins found work"
# One that had begun already may begin again under strace.
assert blocking <= waits + 2, "spins that found work made blocking calls"
equal(others, set(), "other calls that can sleep")
PYTHON
[ $status -ne 77 ] || skip "strace may not attach to a process here"
[ $status -eq 0 ] || fail "the trace shows something else"
unmount
