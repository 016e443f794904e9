#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A worker of the device goes behind a client that asks for one thing after the other, to its CPU;
# it is back where it was, with the usual policy, when nobody asks. So does one that polls, but not
# if it insists.
#
# limit: 150
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

THREADS=1
require_command strace
[ "$ENGINE" = ring ] || skip "about the ring only"

client='
import os, re, signal

mnt, pid, trace, expected = sys.argv[1:]
me = os.getpid()
if len(os.sched_getaffinity(0)) < 2:
    sys.exit(77)
child = os.fork()
if child == 0:
    try:
        for policy in os.SCHED_IDLE, os.SCHED_OTHER:
            os.sched_setscheduler(0, policy, os.sched_param(0))
        os._exit(0)
    except OSError:
        os._exit(1)
if os.waitpid(child, 0)[1] != 0:
    sys.exit(77)  # nobody may come back from SCHED_IDLE here


def workers():
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            name = open(f"/proc/{pid}/task/{thread}/comm").read().strip()
            if re.fullmatch(r"fuse-\d+", name):
                found[thread] = (os.sched_getscheduler(int(thread)),
                                 os.sched_getaffinity(int(thread)))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


deadline = time.monotonic() + 60 * int(os.environ["CASE_SCALE"])
before = workers()
while len(before) != 1:  # what a worker starts has its name for a moment
    assert time.monotonic() < deadline, f"not one worker: {before}"
    time.sleep(0.05)
    before = workers()
tracer = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=sched_setscheduler,sched_setaffinity",
                           "-o", trace, "-p", pid])
while any("TracerPid:\t0\n" in open(f"/proc/{pid}/task/{thread}/status").read() for thread in before):
    if tracer.poll() is not None:
        sys.exit(77)
    assert time.monotonic() < deadline, "strace does not attach"
    time.sleep(0.05)


def went():
    text = open(trace, errors="replace").read()
    return "SCHED_IDLE" in text and re.search(r"sched_setaffinity\(0, \d+, \[\d+\]\) += 0", text)


rounds = 0
while time.monotonic() < deadline and not went() and (expected == "follows" or rounds < 20):
    rounds += 1
    for _ in range(200):
        os.stat(f"{mnt}/file")
    if rounds % 20 == 0:
        time.sleep(1.5)  # it goes home, and may go again
if expected == "follows" and not went() and others_want_cpus():
    sys.exit(77)
assert bool(went()) == (expected == "follows"), open(trace, errors="replace").read()
tracer.send_signal(signal.SIGINT)
tracer.wait()
while workers() != before:
    assert time.monotonic() < deadline, f"{workers()} was {before}"
    time.sleep(0.1)
'

look() {
    local status=0
    mount_passthrough --cache=none "${@:2}"
    echo 0123456789 >"$SRC/file"
    python "$MNT" "${DAEMON[$MNT]}" "$CASE_DIR/trace" "$1" <<<"$client" || status=$?
    [ $status -ne 77 ] || {
        unmount
        skip "needs two CPUs that nobody else wants, strace, and the right to come back from SCHED_IDLE"
    }
    [ $status -eq 0 ] || fail "$1: not so"
    unmount
}

look follows
look follows --poll=weighted
look stays --poll-insist --poll=classic
