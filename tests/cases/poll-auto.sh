#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Without --poll a worker spins for the disk's answers over io_uring, where it runs behind its
# client; never for those of memory, with --poll=off, or on the device.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

[ "$ENGINE" = ring ] || skip "about the ring only"
[ "$(nproc)" -gt 1 ] || skip "one CPU: no worker has one of its own"
case $(stat -f -c %T "$SRC") in
ext2/ext3 | xfs | btrfs) ;;
*) skip "the source is on no disk" ;;
esac
python <<'PYTHON' || skip "nobody may come back from SCHED_IDLE here"
for policy in os.SCHED_IDLE, os.SCHED_OTHER:
    os.sched_setscheduler(0, policy, os.sched_param(0))
PYTHON
head -c 1M /dev/urandom >"$SRC/file"
sync "$SRC/file"

# look SPINS|NOT UNCACHED OPTION...: whether spins are counted while a client reads, past every cache or not.
look() {
    local expected=$1 uncached=$2 status=0
    shift 2
    [ "$TRANSPORT" = device ] || hold_fuse_uring Y
    mount_passthrough --cache=none --transport="$TRANSPORT" "$@"
    [ "$TRANSPORT" = device ] || release_fuse_uring
    assert_eq "$(transport_of "$MNT")" "$TRANSPORT" 'transport'
    python "$SLUICEFS" "$MNT" "$expected" "$uncached" <<'PYTHON' || status=$?
import json
import mmap

sluicefs, mnt, expected, uncached = sys.argv[1:]
buffer = mmap.mmap(-1, 4096)
fd = os.open(f"{mnt}/file", os.O_RDONLY | (os.O_DIRECT if uncached == "yes" else 0))


def spins():
    counters = json.loads(subprocess.check_output([sluicefs, "stats", "--json", mnt]))["counters"]
    return counters["poll_hits"] + counters["poll_misses"]


deadline = time.monotonic() + 60 * int(os.environ["CASE_SCALE"])
rounds = 0
while rounds < 10 if expected == "not" else spins() == 0 and time.monotonic() < deadline:
    for number in range(256):
        assert os.preadv(fd, [buffer], number * 4096) == 4096
    rounds += 1
print(f"{spins()} spins in {rounds * 256} reads")
if expected == "spins" and spins() == 0 and others_want_cpus():
    sys.exit(77)
if expected == "spins":
    assert spins() > 0, "none"
else:  # not all of it may be in memory at first
    assert spins() <= (0 if uncached == "yes" else rounds * 256 // 100), "spins"
PYTHON
    [ $status -ne 77 ] || {
        unmount
        skip "other programs want the CPUs: no worker runs behind its client"
    }
    [ $status -eq 0 ] || fail "spins with '$*': see above"
    unmount
}

THREADS=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # over io_uring each CPU has its worker
SLOW=(--poll=auto --poll-max-us=1000000)                    # the disk may be any
TRANSPORT=device
look not yes "${SLOW[@]}"
TRANSPORT=uring
look spins yes "${SLOW[@]}"
look not no "${SLOW[@]}"
look not yes --poll=off
