#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A directory of 20 000 entries is listed whole, also while entries are removed, and empties by
# rm.
#
# limit: 120
# quick: no
. "$(dirname "$0")/functions.sh"

mkdir "$SRC/many"
python "$SRC/many" <<'PYTHON'
for number in range(20000):
    os.close(os.open(f"{sys.argv[1]}/entry-{number:05}", os.O_CREAT | os.O_WRONLY))
PYTHON
mount_passthrough
assert_eq "$(ls -f "$MNT/many" | sort -u | wc -l)" 20002 'names in ls -f'
assert_eq "$(find "$MNT/many" -type f | wc -l)" 20000 'files in find'
python "$MNT/many" <<'PYTHON'
path = sys.argv[1]
# Half is removed between reads of the same stream: the others appear exactly once.
seen = []
with os.scandir(path) as entries:
    for entry in entries:
        seen.append(entry.name)
        number = int(entry.name[6:])
        if number % 2 == 0 and len(seen) % 3 == 0:
            os.unlink(entry.path)
equal(len(seen), len(set(seen)), "names seen twice")
missing = {f"entry-{n:05}" for n in range(1, 20000, 2)} - set(seen)
assert not missing, f"{len(missing)} entries were not listed"

# telldir and seekdir come back to the same place.
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
libc.readdir.argtypes = libc.telldir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
stream = libc.opendir(os.fsencode(path))


def next_name():
    entry = libc.readdir(stream)
    return ctypes.string_at(entry + 19) if entry else None


for _ in range(3000):
    next_name()
place = libc.telldir(stream)
after = [next_name() for _ in range(100)]
for _ in range(2000):
    next_name()
libc.seekdir(stream, place)
equal([next_name() for _ in range(100)], after, "entries after seekdir")
libc.closedir(stream)
PYTHON
rm -r "$MNT/many"
assert_eq "$(ls -A "$SRC")" ''
unmount
