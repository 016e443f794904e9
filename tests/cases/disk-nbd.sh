#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks of an NBD server: every format that it reads, over one connection or one for each worker; what
# was written is what QEMU finds in the image; a server that dies is an error and never a hang.
#
# limit: 120
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command qemu-img qemu-nbd sfdisk
cd "$CASE_DIR"
size=$((24 * 1048576))
uri='nbd+unix:///?socket=socket'

# start_server FORMAT IMAGE [OPTION...]: returns when it listens. Its path of the socket is short.
start_server() {
    local format=$1 image=$2
    shift 2
    qemu-nbd --persistent --fork --pid-file="$CASE_DIR/server.pid" --socket=/proc/self/cwd/socket --format="$format" \
        --discard=unmap --detect-zeroes=off "$@" "$image"
    SERVER=$(cat server.pid)
}

# stop_server [SIGNAL]
stop_server() {
    kill "-${1:-TERM}" "$SERVER"
    wait_for 20 has_ended "$SERVER" || fail "the server does not end"
    rm -f socket server.pid
}

# Format, clients that the server allows, threads, engine: a connection for each thread or one for all.
while read -r format clients THREADS ENGINE; do
    note "$format, $clients clients, $THREADS threads, $ENGINE"
    rm -f image model
    qemu-img create -q -f "$format" image $size
    truncate -s $size model
    start_server "$format" image --shared="$clients"
    serve "$MNT" disk "$uri" "$MNT"
    assert_eq "$(stat -c %s "$MNT/disk")" $size size
    python3 "$TESTS/cases/disk-change.py" "$MNT/disk" model $size "$clients" 60
    unmount
    stop_server
    qemu-img compare -q -f "$format" -F raw image model || fail "$format is not as the model"
    case $format in
    qcow2 | vdi) qemu-img check -q -f "$format" image ;;
    esac
done <<'TABLE'
raw 8 4 ring
qcow2 1 4 ring
qcow2 1 3 threads
vdi 2 1 ring
vmdk 8 2 denied
TABLE
THREADS=4 ENGINE=ring

note "partitions, holes"
rm image
truncate -s $size image
printf 'label: gpt\nsize=8M, name=one\nname=two\n' | sfdisk -q image
start_server raw image --shared=4
[[ "$("$SLUICEFS" disk --list "$uri")" == *part2* ]] || fail 'no part2 in the list'
serve "$MNT" disk "$uri" "$MNT"
assert_eq "$(readlink "$MNT/by-partlabel/two")" ../part2 'the link'
seq 1 500000 >data
dd if=data of="$MNT/part1" bs=64K conv=notrunc,fsync status=none
cmp -n "$(stat -c %s data)" -i 1048576:0 image data
fallocate -p -o 0 -l 1M "$MNT/part1"
expect_fail 'not supported' truncate -s +1M "$MNT/disk"
python "$MNT/part1" <<'PYTHON'
fd = os.open(sys.argv[1], os.O_RDONLY)
equal(os.lseek(fd, 0, os.SEEK_DATA), 1048576, "the first data")
equal(os.lseek(fd, 1048576, os.SEEK_HOLE) > 3000000, True, "the hole behind it")
PYTHON
unmount
stop_server

note "read-only"
start_server raw image --read-only
expect_fail 'says that it is read-only' "$SLUICEFS" disk -f "$uri" "$MNT" -o rw
serve "$MNT" disk "$uri" "$MNT"
expect_fail 'Read-only' dd if=model of="$MNT/disk" bs=512 count=1 conv=notrunc status=none
cmp "$MNT/disk" image
unmount
stop_server

note "no server, and one that comes later"
expect_fail 'cannot connect' "$SLUICEFS" disk -f "$uri" "$MNT"
(
    sleep 1
    start_server raw image --shared=4
) &
starter=$!
serve "$MNT" disk "$uri" "$MNT" -o wait=60
wait $starter
SERVER=$(cat server.pid)

note "a server that dies"
cat >client.py <<'PYTHON'
# Writes and reads until that fails.
fd, part = os.open(sys.argv[1], os.O_RDWR), int(sys.argv[2]) << 20
try:
    number = 0
    while True:
        number += 1
        os.pwrite(fd, b"x" * 65536, part + number % 16 * 65536)
        os.pread(fd, 4096, part + number % 256 * 4096)
        if number == 100:
            open(sys.argv[3], "w").close()
except OSError as error:
    equal(error.errno, errno.EIO, "the error")
PYTHON
clients=()
for part in 0 1 2; do
    python "$MNT/disk" $part busy.$part <client.py &
    clients+=($!)
done
for part in 0 1 2; do
    wait_for 30 test -e busy.$part || fail 'a client does not write'
done
stop_server KILL
wait "${clients[@]}" || fail 'a client'
expect_fail 'Input/output' dd if="$MNT/disk" of=/dev/null bs=4096 count=1 iflag=direct status=none
assert_eq "$(grep -c 'the server is gone' "$DAEMON_LOG")" 1 'lines about it'
# What was not synced is lost, and both the daemon and umount say so.
expect_fail 'the daemon could not write everything' "$SLUICEFS" umount "$MNT" --timeout=$((20 * CASE_SCALE))
expect_daemon_status 32
grep -q 'what was written last is lost' "$DAEMON_LOG"
