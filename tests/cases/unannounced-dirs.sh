#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With cache=always directories are read, synced and asked about without having been announced as
# opened, by many readers at once; where locks or permissions are the daemon's, they are announced.
#
# limit: 60
# matrix: once
. "$(dirname "$0")/functions.sh"

for number in {1..12}; do
    mkdir "$SRC/dir$number"
    (cd "$SRC/dir$number" && seq -f "a-name-that-is-not-short-%g" 300 | xargs touch)
done

# requests OPERATION: how many of them there have been
requests() {
    "$SLUICEFS" stats --json "$MNT" | python3 -c "import json, sys
print(json.load(sys.stdin)['operations'].get('$1', {}).get('count', 0))"
}

mount_passthrough --cache=always
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
PYTHON
if lsattr -d "$SRC/dir1" >/dev/null 2>&1; then
    lsattr -d "$MNT/dir1" >/dev/null || fail "lsattr"
fi
rm -r "$MNT/dir2"
[ ! -e "$SRC/dir2" ] || fail "rm -r left it"
[ "$(requests opendir)" -le 2 ] || fail "$(requests opendir) OPENDIR"
assert_eq "$(requests releasedir)" 0 'RELEASEDIR'
unmount

for options in --cache=auto '--cache=always --locks=remote'; do
    # shellcheck disable=SC2086 # words
    mount_passthrough $options
    for _ in 1 2 3; do
        ls "$MNT/dir3" >/dev/null
    done
    [ "$(requests opendir)" -ge 3 ] || fail "$options: $(requests opendir) OPENDIR"
    flock "$MNT/dir3" true
    unmount
done
