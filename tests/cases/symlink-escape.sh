#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# No symbolic link, rename or ".." leads the daemon out of the source, or changes a file outside
# of it.
#
# quick: no
. "$(dirname "$0")/functions.sh"

require_root
mkdir "$CASE_DIR/outside"
echo secret >"$CASE_DIR/outside/secret"
mkdir -p "$SRC/a/b"
# Without a cache every lookup is the daemon's, which the race below needs.
mount_passthrough -o cache=none

# Links are resolved by the client, against its own tree: what they name is not the daemon's.
ln -s "$CASE_DIR/outside/secret" "$MNT/absolute"
ln -s ../outside/secret "$SRC/relative"
assert_eq "$(readlink "$MNT/absolute")" "$CASE_DIR/outside/secret"
assert_eq "$(readlink "$MNT/relative")" ../outside/secret
mv "$CASE_DIR/outside" "$CASE_DIR/moved"
expect_fail 'No such file' cat "$MNT/absolute"
mkdir "$CASE_DIR/outside"

# Operations on the link are on the link.
ln -s "$CASE_DIR/moved/secret" "$MNT/link"
chown -h 1:1 "$MNT/link"
touch -h -d @1000 "$MNT/link"
assert_eq "$(stat -c '%u %Y' "$SRC/link")" '1 1000' 'the link'
assert_eq "$(stat -c %u "$CASE_DIR/moved/secret")" 0 'owner of the file that it names'
rm "$MNT/link"
assert_eq "$(cat "$CASE_DIR/moved/secret")" secret

# A directory is swapped for a link below, between lookup and use, all the time.
python "$MNT" "$SRC" "$CASE_DIR/moved" <<'PYTHON'
mnt, src, outside = sys.argv[1:]
write_file(src + "/a/b/secret", b"inside\n")
stop = threading.Event()


def swap():
    os.symlink(outside, src + "/trap")
    while not stop.is_set():
        rename2(src + "/a/b", src + "/trap", RENAME_EXCHANGE)


thread = threading.Thread(target=swap)
thread.start()
reads = {"inside": 0, "error": 0}
begun = time.monotonic()
# Three seconds, and longer where the machine is so busy that one side was not seen yet.
while time.monotonic() < begun + 3 or 0 in reads.values() and time.monotonic() < begun + 30:
    # O_NOFOLLOW on the way: only the daemon could follow the link.
    try:
        a = os.open(mnt + "/a", os.O_RDONLY | os.O_DIRECTORY)
        try:
            b = os.open("b", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=a)
            try:
                fd = os.open("secret", os.O_RDWR | os.O_NOFOLLOW, dir_fd=b)
                data = os.read(fd, 100)
                os.close(fd)
            finally:
                os.close(b)
        finally:
            os.close(a)
    except OSError:
        reads["error"] += 1
        continue
    equal(data, b"inside\n", "what the mount served")
    reads["inside"] += 1
stop.set()
thread.join()
print(reads)
assert 0 not in reads.values(), "there was no race"
PYTHON

# ".." of the root is the client's directory above the mount.
assert_eq "$(stat -c %i "$MNT/..")" "$(stat -c %i "$CASE_DIR")" '".." of the root'
# A directory moved out of the source while it is the client's working directory.
mkdir "$SRC/leaves"
cd "$MNT/leaves"
mv "$SRC/leaves" "$CASE_DIR/left"
ls .. >"$CASE_DIR/listing" 2>/dev/null || true
! grep -q moved "$CASE_DIR/listing" || fail "the directory above the source was listed"
cd "$CASE_DIR"
unmount
