#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A disk image is a directory of its partitions: what is written to one is in its place and nowhere
# else, and all views of the same bytes agree.
#
# limit: 180
# quick: no
. "$(dirname "$0")/functions.sh"

require_command sfdisk fio mkfs.ext4
cd "$CASE_DIR"
truncate -s 64M image
sfdisk -q image <<'TABLE'
label: gpt
size=16M, name="one/two"
size=8M, name="one/two"
size=20M
TABLE
head -c 1000000 /dev/urandom >random
for cache in writeback none; do
    serve "$MNT" disk image "$MNT" -o cache=$cache
    assert_eq "$(cd "$MNT" && echo disk part*)" 'disk part1 part2 part3'
    assert_eq "$(stat -c %s "$MNT/disk" "$MNT"/part? | xargs)" '67108864 16777216 8388608 20971520'
    # A label is a name, whatever it holds; the first of two wins.
    assert_eq "$(readlink "$MNT/by-partlabel/one\\x2ftwo")" ../part1

    python "$MNT" "$CASE_DIR/image" <<'PYTHON'
mnt, image = sys.argv[1:]
start = {1: 1 << 20, 2: 17 << 20, 3: 25 << 20}
size = {1: 16 << 20, 2: 8 << 20, 3: 20 << 20}
model = bytearray(open(image, "rb").read())
generator = random.Random(1)
files = {number: os.open(f"{mnt}/part{number}", os.O_RDWR) for number in start}
disk = os.open(f"{mnt}/disk", os.O_RDWR)
for _ in range(300):
    number = generator.randrange(1, 4)
    length = generator.randrange(1, 100000)
    offset = generator.randrange(size[number] - length)
    place = start[number] + offset
    what = generator.randrange(4)
    if what == 0:
        fallocate(files[number], FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
        model[place:place + length] = bytes(length)
    elif what == 1:
        data = generator.randbytes(length)
        os.pwrite(disk, data, place)
        model[place:place + length] = data
    else:
        data = generator.randbytes(length)
        os.pwrite(files[number], data, offset)
        model[place:place + length] = data
    # Through the other view.
    equal(os.pread(disk, length, place), bytes(model[place:place + length]), "disk")
    equal(os.pread(files[number], length, offset), bytes(model[place:place + length]), "partition")

# The end of a partition.
equal(os.pwrite(files[2], b"x" * 1000, size[2] - 10), 10, "bytes written at the end")
model[start[2] + size[2] - 10:start[2] + size[2]] = b"x" * 10
for action in (lambda: os.pwrite(files[2], b"x", size[2]), lambda: os.pwrite(files[2], b"x", size[2] + 5000)):
    expect_errno(errno.ENOSPC, action)
equal(os.pread(files[2], 100, size[2] - 5), b"x" * 5, "read over the end")
equal(os.pread(files[2], 100, size[2]), b"", "read behind the end")
expect_errno(errno.EINVAL, lambda: os.ftruncate(files[2], 100))
os.close(os.open(f"{mnt}/part2", os.O_WRONLY | os.O_TRUNC))
equal(os.stat(f"{mnt}/part2").st_size, size[2], "size after O_TRUNC")
model[start[2]:start[2] + size[2]] = bytes(size[2])
for fd in (*files.values(), disk):
    os.fsync(fd)
equal(open(image, "rb").read() == bytes(model), True, "the image is as the model")

# Holes are shown where the file below has them.
fallocate(files[3], FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, size[3])
os.pwrite(files[3], b"data", 8 << 20)
os.fsync(files[3])
equal(os.lseek(files[3], 0, os.SEEK_DATA), 8 << 20, "first data")
assert 8 << 20 < os.lseek(files[3], 8 << 20, os.SEEK_HOLE) <= (8 << 20) + 65536
expect_errno(errno.ENXIO, lambda: os.lseek(files[3], 16 << 20, os.SEEK_DATA))
equal(os.lseek(files[3], 16 << 20, os.SEEK_HOLE), 16 << 20, "a hole")
PYTHON

    # The names stay, and nothing is "not implemented".
    for command in "touch $MNT/part9" "mkdir $MNT/new" "rm $MNT/part1" "rmdir $MNT/by-partuuid" "mv $MNT/part1 $MNT/part9" \
        "ln $MNT/part1 $MNT/part9" "ln -s part1 $MNT/part9" "chmod 600 $MNT/part1"; do
        # shellcheck disable=SC2086 # its words
        expect_fail 'not permitted' $command
    done

    # What programs do.
    dd if=random of="$MNT/part1" bs=64k conv=notrunc status=none
    cmp -n 1000000 random "$MNT/part1"
    cp --sparse=always "$MNT/part3" copy
    cmp copy "$MNT/part3"
    for direct in 0 1; do
        fio --name=verify --filename="$MNT/part3" --rw=randwrite --bs=4k --size=4M --iodepth=16 --ioengine=libaio \
            --direct=$direct --verify=crc32c --verify_fatal=1 --output=fio.log || { cat fio.log; fail "fio"; }
    done
    unmount
    sfdisk -q --verify image
done

# Links by the file systems, and mappings: always where the kernel caches the file, else from Linux 6.6 on.
mkfs.ext4 -q -L files -U 01234567-89ab-cdef-0123-456789abcdef -E offset=$((25 * 1048576)) image 20M
cat >map.py <<'PYTHON'
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    memory = mmap.mmap(fd, 65536, offset=4 << 20)
except OSError as error:
    equal((error.errno, sys.argv[2]), (errno.ENODEV, "direct"), "the error of mmap")
    sys.exit()
memory[100:105] = b"hello"
memory.flush()
equal(os.pread(fd, 5, (4 << 20) + 100), b"hello", "after msync")
PYTHON
serve "$MNT" disk image "$MNT"
assert_eq "$(readlink "$MNT/by-label/files" "$MNT/by-uuid/01234567-89ab-cdef-0123-456789abcdef" | xargs)" '../part3 ../part3'
python "$MNT/part3" direct <map.py
unmount
serve "$MNT" disk image "$MNT" -o partition=label:files
python "$MNT/part3" cached <map.py
unmount

# One partition alone, which the kernel may cache.
for name in 2 "uuid:$(sfdisk --part-uuid image 2 | tr '[:upper:]' '[:lower:]')"; do
    serve "$MNT" disk image "$MNT" -o partition="$name"
    assert_eq "$(cd "$MNT" && echo *)" 'by-partlabel by-partuuid part2'
    cp random "$MNT/part2"
    unmount
    cmp -n 1000000 random <(tail -c +$((17 * 1048576 + 1)) image)
done

# Read-only.
before=$(sha256sum image)
serve "$MNT" disk image "$MNT" -o ro
expect_fail 'Read-only' dd if=random of="$MNT/part1" conv=notrunc status=none
cat "$MNT/disk" >/dev/null
unmount
assert_eq "$(sha256sum image)" "$before" 'image after a read-only mount'
