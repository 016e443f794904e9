#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With --watch a change made below the mount is seen through it although the kernel may believe
# what it knows for a day; also when there are more changes than are queued.
#
# limit: 120
# matrix: once
. "$(dirname "$0")/functions.sh"

require_root
require_command setpriv
# file systems of its own: what other cases do meanwhile does not fill the queue
mount -t tmpfs -o size=64m none "$SRC" || skip "no tmpfs here"
trap 'umount -Rl "$SRC" 2>/dev/null || true' EXIT
require_watch
mkdir "$SRC"/{sub,disk,dir,bound}
mount -t tmpfs -o size=4m none "$SRC/sub"
image=$CASE_DIR/image
truncate -s 16M "$image"
if mkfs.ext4 -q "$image" 2>/dev/null && mount -o loop "$image" "$SRC/disk" 2>/dev/null; then
    rmdir "$SRC/disk/lost+found"
else
    note "no ext4 on a loop device here: a directory in its place"
fi

mount_passthrough --cache=always --watch

# changes DIRECTORY: one of each kind, each waited for by a client that has looked before.
changes() {
    python "$MNT/$1" "$SRC/$1" <<'PYTHON'
mnt, src = sys.argv[1:]


def content(name):
    try:
        return read_file(f"{mnt}/{name}")
    except FileNotFoundError:
        return None


# What the client knows now, it may believe for a day.
write_file(src + "/file", b"one")
os.mkdir(src + "/old")
write_file(src + "/old/x", b"x")
write_file(src + "/gone", b"gone")
equal(content("file"), b"one")
equal(content("old/x"), b"x")
equal(content("gone"), b"gone")
equal(content("late"), None)
equal(sorted(os.listdir(mnt)), ["file", "gone", "old"])
reader = os.open(mnt + "/file", os.O_RDONLY)

with open(src + "/file", "r+b") as file:
    file.write(b"two")
until(lambda: content("file") == b"two", "content")
until(lambda: os.pread(reader, 10, 0) == b"two", "content of an open file")
with open(src + "/file", "ab") as file:
    file.write(b" and more")
until(lambda: os.stat(mnt + "/file").st_size == 12, "size")
os.chmod(src + "/file", 0o640)
until(lambda: os.stat(mnt + "/file").st_mode & 0o777 == 0o640, "mode")
with open(src + "/file", "r+b") as file:
    with mmap.mmap(file.fileno(), 12) as mapping:
        mapping[0:3] = b"map"
until(lambda: content("file") == b"map and more", "content written by a mapping")
with mmap.mmap(reader, 12, prot=mmap.PROT_READ) as mapping:
    equal(mapping[0:3], b"map")
    with open(src + "/file", "r+b") as file:
        file.write(b"MAP")
    until(lambda: mapping[0:3] == b"MAP", "content seen by a mapping")
    with open(src + "/file", "r+b") as file:
        file.write(b"map")
    until(lambda: mapping[0:3] == b"map", "content seen by a mapping")
write_file(src + "/cut", b"x" * 10000)
equal(content("cut"), b"x" * 10000)
os.truncate(src + "/cut", 5000)
until(lambda: content("cut") == b"x" * 5000, "a file that was cut")
os.truncate(src + "/cut", 6000)
until(lambda: content("cut") == b"x" * 5000 + bytes(1000), "a file that was cut and made longer")
os.unlink(src + "/cut")
until(lambda: content("cut") is None, "a name that is gone")
write_file(src + "/late", b"late")
until(lambda: content("late") == b"late", "a name that did not exist")
until(lambda: "late" in os.listdir(mnt), "a name in a listing")
os.unlink(src + "/gone")
until(lambda: content("gone") is None, "a name that is gone")
os.rename(src + "/old", src + "/new")
until(lambda: content("new/x") == b"x" and not os.path.exists(mnt + "/old"), "a directory's name")
write_file(src + "/other", b"other")
os.rename(src + "/other", src + "/file")
until(lambda: content("file") == b"other", "a replaced file")
os.link(src + "/file", src + "/second")
until(lambda: os.stat(mnt + "/file").st_nlink == 2, "number of links")
until(lambda: sorted(os.listdir(mnt)) == ["file", "late", "new", "second"], "the names left")
equal(os.pread(reader, 20, 0), b"map and more")
os.close(reader)

# What this mount does itself is no news: nobody loses the directory that he is in.
for i in range(200):
    os.mkdir(f"{mnt}/mine")
    os.chdir(f"{mnt}/mine")
    equal(os.getcwd(), f"{mnt}/mine")
    os.chdir("/")
    os.rmdir(f"{mnt}/mine")
PYTHON
}
changes dir
note "a file system mounted below"
changes sub
note "a disk mounted below"
changes disk

note "a directory that is seen twice"
mount --bind "$SRC/dir" "$SRC/bound"
python "$MNT/dir" "$MNT/bound" <<'PYTHON'
one, two = sys.argv[1:]

equal(os.path.exists(two + "/both"), False)
write_file(one + "/both", b"one")
until(lambda: os.path.exists(two + "/both") and read_file(two + "/both") == b"one", "a new name")
write_file(two + "/both", b"two and more")
until(lambda: os.stat(one + "/both").st_size == 12, "size")
until(lambda: read_file(one + "/both") == b"two and more", "content")
os.unlink(one + "/both")
until(lambda: not os.path.exists(two + "/both"), "a name that is gone")
PYTHON
if printf '%s\n' 6.2 "$(uname -r)" | sort -VC; then
    python "$MNT/dir" <<'PYTHON'
os.mkdir(sys.argv[1] + "/here")
os.chdir(sys.argv[1] + "/here")
for i in range(20):
    equal(os.getcwd(), sys.argv[1] + "/here")
    time.sleep(0.01)
PYTHON
fi

note "readers beside changes"
python "$MNT" "$SRC" <<'PYTHON'
mnt, src = sys.argv[1:]
names = [f"{i}" for i in range(40)]
for directory in range(4):
    os.mkdir(f"{src}/race{directory}")
stop = threading.Event()


def look():
    while not stop.is_set():
        for directory in range(4):
            for name in names:
                try:
                    read_file(f"{mnt}/race{directory}/{name}")
                except (FileNotFoundError, OSError):
                    pass
            os.listdir(f"{mnt}/race{directory}")


readers = [threading.Thread(target=look, daemon=True) for _ in range(3)]
for thread in readers:
    thread.start()
chance = random.Random(1)
for i in range(3000):
    path = f"{src}/race{chance.randrange(4)}/{chance.choice(names)}"
    action = chance.randrange(4)
    if action == 0:
        write_file(path, b"%d" % i)
    elif action == 1:
        write_file(path + ".new", b"new %d" % i)
        os.rename(path + ".new", path)
    elif action == 2 and os.path.exists(path):
        os.unlink(path)
    elif os.path.exists(path):
        os.rename(path, f"{src}/race{chance.randrange(4)}/{chance.choice(names)}")
stop.set()
for thread in readers:
    thread.join()


def state(base):
    found = {}
    for directory in range(4):
        for name in os.listdir(f"{base}/race{directory}"):
            path = f"race{directory}/{name}"
            try:
                found[path] = (read_file(f"{base}/{path}"), os.stat(f"{base}/{path}").st_size)
            except FileNotFoundError:
                found[path] = None
        for name in names:
            path = f"race{directory}/{name}"
            found.setdefault(path, os.path.exists(f"{base}/{path}"))
    return found


until(lambda: state(mnt) == state(src), "the last contents")
PYTHON

overflowed() {
    # in two steps: grep would end a longer answer early, and with it who gives it
    "$SLUICEFS" stats --json "$MNT" >"$CASE_DIR/stats.json" &&
        grep -q '"watch_overflows" : [1-9]' "$CASE_DIR/stats.json"
}
content_seen() {
    [ "$(cat "$MNT/content")" = after ]
}
names_seen() {
    [ "$(cat "$MNT/created" "$MNT/moved" 2>/dev/null)" = $'created\nbefore' ] && ! [ -e "$MNT/renamed" ]
}

# overflow KEPT: while the daemon does not run, more happens than the kernel keeps for it.
overflow() {
    local kept=$1
    echo before >"$SRC/content"
    echo before >"$SRC/renamed"
    assert_eq "$(cat "$MNT/content" "$MNT/renamed")" $'before\nbefore'
    [ ! -e "$MNT/created" ]
    mkdir "$SRC/many"
    kill -STOP "${DAEMON[$MNT]}"
    python "$SRC/many" "$kept" <<'PYTHON'
for i in range(int(sys.argv[2]) + 100):
    path = f"{sys.argv[1]}/{i}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)
PYTHON
    echo after >"$SRC/content"
    mv "$SRC/renamed" "$SRC/moved"
    echo created >"$SRC/created"
    kill -CONT "${DAEMON[$MNT]}"
    wait_for 30 overflowed || fail "the queue did not overflow"
    wait_for 30 content_seen || fail "the content is an old one"
    if printf '%s\n' 6.16 "$(uname -r)" | sort -VC; then
        wait_for 30 names_seen || fail "the names are old ones"
    fi
}

note "more changes than are queued"
queued=$(cat /proc/sys/fs/fanotify/max_queued_events)
if [ "$queued" -le 20000 ]; then
    overflow "$queued"
else
    note "left out: the queue holds $queued"
fi
unmount
umount "$SRC/disk" 2>/dev/null || true
wait_for 30 is_detached "$image" || fail "the loop device stays: $(losetup -j "$image")"

expect_fail 'together with writeback' "$SLUICEFS" passthrough "$SRC" "$MNT" --watch --writeback
expect_fail 'CAP_SYS_ADMIN' setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \
    "$SLUICEFS" passthrough "$SRC" "$MNT" --watch
