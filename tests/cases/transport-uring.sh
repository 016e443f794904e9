#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Requests over io_uring: real work by one worker for all queues; where the kernel does not offer
# it the device serves and the status says why; waiting requests never keep out the others.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

[ "$ENGINE" != uring ] || ENGINE=ring # it asks for the transport itself

# serve_with Y|N OPTION...: serve $SRC while the kernel offers it, or does not.
serve_with() {
    hold_fuse_uring "$1"
    shift
    mount_passthrough "$@"
    release_fuse_uring
}

# counter NAME
counter() {
    "$SLUICEFS" stats --json "$MNT" | sed -n "s/^ *\"$1\" : \\([0-9]*\\),*\$/\\1/p" | head -n 1
}

note "it serves, and the device has next to nothing to do"
serve_with Y --transport=uring
assert_eq "$(transport_of)" uring 'transport'
"$SLUICEFS" status "$MNT" | grep -q ' uring ' || fail "status does not say it"
cp -a /usr/include/linux "$MNT/linux"
same_tree /usr/include/linux "$MNT/linux"
same_tree /usr/include/linux "$SRC/linux"
[ "$(counter uring_requests)" -gt 1000 ] || fail "uring_requests: $(counter uring_requests)"
rm -r "$MNT/linux"
unmount

note "data, as clients write it"
if command -v fio >/dev/null; then
    serve_with Y --transport=uring --uring-depth=4
    for engine in psync libaio io_uring; do
        fio --name=verify --directory="$MNT" --rw=randrw --rwmixread=30 --bsrange=4k-1m \
            --blockalign=4k --size=8m --numjobs=4 --thread --ioengine=$engine --iodepth=16 \
            --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting \
            --output="$CASE_DIR/fio.log" || { tail -n 30 "$CASE_DIR/fio.log"; fail "$engine"; }
        rm "$MNT"/verify*
    done
    unmount
fi

note "what was agreed on stays, whatever becomes of the parameter"
serve_with Y --transport=auto
hold_fuse_uring N
seq 100000 >"$MNT/numbers"
seq 100000 | cmp - "$SRC/numbers"
release_fuse_uring
assert_eq "$(transport_of)" uring 'transport'
unmount

note "not offered: the device, with the reason"
: >"$DAEMON_LOG"
serve_with N --transport=uring
assert_eq "$(transport_of)" device 'transport'
"$SLUICEFS" status "$MNT" | grep -q 'not over io_uring: .*enable_uring' || fail "no reason in the status"
grep -q 'not over io_uring: .*enable_uring' "$DAEMON_LOG" || fail "no reason in the log"
cmp "$MNT/numbers" <(seq 100000)
assert_eq "$(counter uring_requests)" 0 'requests over io_uring'
unmount
: >"$DAEMON_LOG"
serve_with N --transport=auto
assert_eq "$(transport_of)" device 'transport'
cmp "$MNT/numbers" <(seq 100000)
unmount
grep -q 'not over io_uring' "$DAEMON_LOG" && fail "auto: $(cat "$DAEMON_LOG")"

note "no io_uring at all: the same"
: >"$DAEMON_LOG"
ENGINE=threads serve_with Y --transport=uring
assert_eq "$(transport_of)" device 'transport'
grep -q 'not over io_uring: the worker has no io_uring' "$DAEMON_LOG" || fail "$(cat "$DAEMON_LOG")"
cmp "$MNT/numbers" <(seq 100000)
unmount

note "many requests that wait for a lock, in a queue with one entry"
require_command flock taskset
serve_with Y --transport=uring --uring-depth=1 -o locks=remote
waiters=()
exec {held}>"$MNT/lock"
flock $held
for _ in {1..40}; do
    taskset -c 0 flock "$MNT/lock" true {held}>&- &
    waiters+=($!)
done
sleep 1
timeout 20 taskset -c 0 cmp "$MNT/numbers" <(seq 100000) || fail "read while clients wait"
flock -u $held
exec {held}>&-
for pid in "${waiters[@]}"; do
    wait "$pid" || fail "a waiter failed"
done
unmount

note "the same, all at once, while the worker is off: what came behind them is found"
serve_with Y --transport=uring --uring-depth=2 -o locks=remote
python "$MNT" "${DAEMON[$MNT]}" "/sys/fs/fuse/connections/$(connection_of)/waiting" $((20 * CASE_SCALE)) <<'PYTHON'
mount, daemon, waiting, patience = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
os.sched_setaffinity(0, {0})  # one queue


def wait_until(condition, what):
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            os.kill(daemon, signal.SIGCONT)
            print(f"{what}: {requests()} requests wait", flush=True)
            os._exit(1)
        time.sleep(0.01)


def requests():
    return int(open(waiting).read())


def is_stopped():
    return "State:\tT" in open(f"/proc/{daemon}/status").read()


def start(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


files = [os.open(f"{mount}/lock", os.O_RDWR) for _ in range(7)]
numbers = os.open(f"{mount}/numbers", os.O_RDONLY | os.O_DIRECT)
fcntl.flock(files[0], fcntl.LOCK_EX)
wait_until(lambda: requests() == 0, "before")
time.sleep(0.3)  # it has seen that nothing waits
os.kill(daemon, signal.SIGSTOP)
wait_until(is_stopped, "stop")
waiters = [start(fcntl.flock, file, fcntl.LOCK_SH) for file in files[1:]]
wait_until(lambda: requests() == len(waiters), "locks")
reader = start(os.preadv, numbers, [mmap.mmap(-1, 4096)], 0)
wait_until(lambda: requests() == len(waiters) + 1, "read")
os.kill(daemon, signal.SIGCONT)
wait_until(lambda: not reader.is_alive(), "the read hangs")
fcntl.flock(files[0], fcntl.LOCK_UN)
wait_until(lambda: not any(thread.is_alive() for thread in waiters), "a lock hangs")
PYTHON
unmount

# Takes a CPU from the whole machine for a moment: by hand, CPU_OFFLINE=1.
CPU=/sys/devices/system/cpu/cpu1
if [ -n "${CPU_OFFLINE-}" ] && [ -e $CPU/online ]; then
    note "a CPU goes offline and comes back"
    serve_with Y --transport=uring --cache=none
    taskset -c 1 cmp "$MNT/numbers" "$SRC/numbers"
    # others that may want the same are kept out
    exec {held}>/tmp/fuse-param.lock
    flock $held
    trap 'echo 1 >$CPU/online' EXIT
    (for _ in {1..200}; do cmp "$MNT/numbers" "$SRC/numbers" || exit 1; done) {held}>&- &
    load=$!
    echo 0 >$CPU/online
    timeout 20 cmp "$MNT/numbers" "$SRC/numbers" || fail "read while a CPU is offline"
    echo 1 >$CPU/online
    exec {held}>&-
    trap - EXIT
    wait $load || fail "a reader failed while a CPU went and came"
    taskset -c 1 timeout 20 cmp "$MNT/numbers" "$SRC/numbers" || fail "read from the CPU that came back"
    unmount
fi
