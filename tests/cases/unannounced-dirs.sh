#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With cache=always and xdev=deny directories are read, synced and asked about without having been
# announced as opened, by many readers at once, and a listing has what was changed while another
# reader had not come to its end; where locks are the daemon's, or positions in a directory may
# mean nothing to another descriptor, they are announced.
#
# limit: 180
# matrix: once
. "$(dirname "$0")/functions.sh"

for number in {1..12}; do
    mkdir "$SRC/dir$number"
    (cd "$SRC/dir$number" && seq -f "a-name-that-is-not-short-%g" 300 | xargs touch)
done

# handles: how many files and directories the daemon has open.
handles() {
    "$SLUICEFS" stats --json "$MNT" | python3 -c "import json, sys
print(json.load(sys.stdin)['backend']['handles'])"
}

nothing_open() {
    [ "$(handles)" = 0 ]
}

# requests OPERATION: how many of them there have been
requests() {
    "$SLUICEFS" stats --json "$MNT" | python3 -c "import json, sys
print(json.load(sys.stdin)['operations'].get('$1', {}).get('count', 0))"
}

mount_passthrough --cache=always --xdev=deny
python "$SRC" "$MNT" <<'PYTHON'
import itertools

src, mnt = sys.argv[1:]
names = [f"dir{number}" for number in range(1, 13)]

# More readers than directories are kept open, each a few entries at a time, two of each directory.
expected = {name: sorted(os.listdir(f"{src}/{name}")) for name in names}
readers = [(name, os.scandir(f"{mnt}/{name}"), []) for name in names * 2]
going_on = True
while going_on:
    going_on = False
    for name, entries, seen in readers:
        for entry in itertools.islice(entries, 20):
            seen.append(entry.name)
            going_on = True
for name, _, seen in readers:
    equal(sorted(seen), expected[name], name)
for name in names:
    equal(sorted(os.listdir(f"{mnt}/{name}")), expected[name], name)

# One descriptor: read again after a change, synced.
fd = os.open(f"{mnt}/dir1", os.O_RDONLY | os.O_DIRECTORY)
equal(len(os.listdir(fd)), 300, "entries")
open(f"{mnt}/dir1/new", "w").close()
assert "new" in os.listdir(fd), "what was created is missing"
os.unlink(f"{mnt}/dir1/new")
assert "new" not in os.listdir(fd), "what was removed is there"
os.fsync(fd)
os.close(fd)

# One reads a part and leaves, names behind that go and come: the next reader sees what is there.
probe = f"{src}/probe"  # which names come late, as far as an order by hash tells
subprocess.run(["cp", "-r", f"{src}/dir4", probe], check=True)
for number in range(300):
    open(f"{probe}/new-{number}", "w").close()
late = [name for name in os.listdir(probe)[-100:] if name.startswith("new")]
for number in range(4, 8):
    path, source = f"{mnt}/dir{number}", f"{src}/dir{number}"
    for change in ["remove", "create"]:
        os.mkdir(f"{path}/passing")  # the listing that the kernel has is old
        os.rmdir(f"{path}/passing")
        with os.scandir(path) as entries:
            next(entries)
        order = os.listdir(source)
        if change == "remove":
            for name in order[-60::3]:
                os.unlink(f"{path}/{name}")
        else:
            for name in late:
                open(f"{path}/{name}", "w").close()
        for _ in range(2):
            equal(sorted(os.listdir(path)), sorted(os.listdir(source)), f"{path} after {change}")

# Two read by turns while a third removes what they have not come to.
path = f"{mnt}/dir8"
order = os.listdir(f"{src}/dir8")
gone = set(order[150::2])
readers = [(os.scandir(path), []) for _ in range(2)]
for step in range(40):
    for entries, seen in readers:
        seen.extend(entry.name for entry in itertools.islice(entries, 10))
    if step == 0:
        for name in gone:
            os.unlink(f"{path}/{name}")
for _, seen in readers:
    equal(len(seen), len(set(seen)), "names seen once")
    assert set(order) - gone <= set(seen), "what was there all the time is missing"
equal(sorted(os.listdir(path)), sorted(set(order) - gone), "what is left")

# A tree goes while it is listed.
stop = f"{src}/stop"
child = os.fork()
if child == 0:
    while not os.path.exists(stop):
        for _ in os.walk(f"{mnt}/tree"):
            pass
    os._exit(0)
for number in range(10):
    os.makedirs(f"{mnt}/tree/{number}")
    for name in range(200):
        open(f"{mnt}/tree/{number}/{name}", "w").close()
subprocess.run(["rm", "-r", f"{mnt}/tree"], check=True)
open(stop, "w").close()
equal(os.waitpid(child, 0)[1], 0, "reader")
assert not os.path.exists(f"{src}/tree"), "rm -r left it"
os.unlink(stop)

# Left in the middle: nothing stays open.
entries = os.scandir(f"{mnt}/dir9")
os.utime(f"{mnt}/dir9")
next(entries)
entries.close()
PYTHON
if lsattr -d "$SRC/dir1" >/dev/null 2>&1; then
    lsattr -d "$MNT/dir1" >/dev/null || fail "lsattr"
fi
rm -r "$MNT/dir2"
[ ! -e "$SRC/dir2" ] || fail "rm -r left it"
case $(stat -f -c %T "$SRC") in
ext2/ext3 | xfs | f2fs)
    [ "$(requests opendir)" -le 2 ] || fail "$(requests opendir) OPENDIR"
    assert_eq "$(requests releasedir)" 0 'RELEASEDIR'
    # The kernel does not wait for a RELEASE, and who serves it may be slow.
    wait_for 20 nothing_open || fail "the daemon has $(handles) open"
    ;;
*) note "not tested without OPENDIR: the source is on $(stat -f -c %T "$SRC")" ;;
esac
unmount

if [ "$(id -u)" -eq 0 ]; then
    mkdir "$SRC/other"
    mount -t tmpfs none "$SRC/other"
    trap 'umount "$SRC/other"' EXIT
    mkdir "$SRC/other/dir"
    touch "$SRC/other/dir/"{1..300}
    mount_passthrough_at "$SRC/other" "$MNT" --cache=always --xdev=deny
    for _ in 1 2 3; do
        assert_eq "$(find "$MNT/dir" -type f | wc -l)" 300 'names'
    done
    [ "$(requests opendir)" -ge 3 ] || fail "tmpfs: $(requests opendir) OPENDIR"
    unmount
    umount "$SRC/other"
    trap - EXIT
fi

for options in --cache=auto --cache=always '--cache=always --xdev=deny --locks=remote'; do
    # shellcheck disable=SC2086 # words
    mount_passthrough $options
    for _ in 1 2 3; do
        ls "$MNT/dir3" >/dev/null
    done
    [ "$(requests opendir)" -ge 3 ] || fail "$options: $(requests opendir) OPENDIR"
    flock "$MNT/dir3" true
    unmount
done
