#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# kill -9 of the daemon at any moment leaves a qcow2 image with all that fsync promised, and nothing
# worse than unused clusters that count as used. KILLS=500 in the environment makes it a long test.
#
# limit: 150
# matrix: once
# quick: no
. "$(dirname "$0")/functions.sh"

require_command qemu-img
cd "$CASE_DIR"
size=$((64 * 1048576))
image_options=(cluster_size=64K cluster_size=4K cluster_size=512 compat=0.10)
# A client: writes a block with a number and says so in its log once fsync has returned.
cat >client.py <<'PYTHON'
path, log, part, parts, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
generator = random.Random(os.urandom(8))
log = open(log, "ab", buffering=0)
low, blocks = size // parts * part, size // parts // 4096
try:
    fd = os.open(path, os.O_RDWR)
    while True:
        pending = []
        for _ in range(generator.randrange(1, 6)):
            block = low // 4096 + generator.randrange(blocks)
            number = generator.getrandbits(63)
            log.write(struct.pack("<cQQ", b"w", block, number))
            os.pwrite(fd, struct.pack("<QQ", block, number) * 256, block * 4096)
            pending.append((block, number))
        os.fsync(fd)
        for block, number in pending:
            log.write(struct.pack("<cQQ", b"s", block, number))
except OSError:
    pass
PYTHON
cat >verify.py <<'PYTHON'
# A block holds what was last synced, or something that was begun to be written after that.
path, logs = sys.argv[1], sys.argv[2:]
fd = os.open(path, os.O_RDONLY)
allowed, synced = {}, 0
for name in logs:
    data = open(name, "rb").read()
    for what, block, number in struct.iter_unpack("<cQQ", data[:len(data) // 17 * 17]):
        if what == b"w":
            allowed.setdefault(block, [None]).append(number)
        else:
            allowed[block] = allowed[block][allowed[block].index(number):]
            synced += 1
for block, numbers in allowed.items():
    data = os.pread(fd, 4096, block * 4096)
    for sector in range(0, 4096, 512):
        there, number = struct.unpack_from("<QQ", data, sector)
        if (there, number) == (0, 0) and None in numbers:
            continue
        assert there == block and number in numbers, (block, sector, there, number, numbers)
print(f"{len(allowed)} blocks, {synced} synced writes")
PYTHON

for ((kill = 0; kill < ${KILLS:-6}; kill++)); do
    if [ $((kill % 4)) -eq 0 ]; then
        rm -f image log.*
        qemu-img create -q -f qcow2 -o "${image_options[kill / 4 % 4]}" image $size
    fi
    serve "$MNT" disk image "$MNT"
    clients=()
    for part in 0 1 2; do
        python "$MNT/disk" log.$part $part 3 $size <client.py &
        clients+=($!)
    done
    sleep "$((RANDOM % 2)).$((RANDOM % 7 + 3))$((RANDOM % 10))"
    kill -KILL "${DAEMON[$MNT]}"
    expect_daemon_status 137
    wait "${clients[@]}" || fail "a client"
    umount "$MNT"

    # Status 3: leaks only. The same before and after we have had it.
    status=0
    qemu-img check -f qcow2 image >check.log 2>&1 || status=$?
    [ $status -eq 0 ] || [ $status -eq 3 ] || { cat check.log; fail "qemu-img check: $status"; }
    serve "$MNT" disk image "$MNT"
    if compgen -G 'log.*' >/dev/null; then
        python "$MNT/disk" log.* <verify.py
    fi
    unmount
done
qemu-img check -q -r leaks -f qcow2 image
